"""What each user of the bus may say and hear: a node only as itself, a service only as itself.

The lists are subjects in NATS' notation, for the ``permissions`` of a user in nats-server's
configuration. A node speaks under its own id, says its own events and answers the services; it
hears only what is addressed to it. Inboxes end in tokens that cannot be guessed, and only their
owner may listen on them.
"""

from __future__ import annotations

from dataclasses import dataclass

from flotilla_bus.events import SUBJECT as EVENTS

CLI = "cli"
"""The ``flotilla`` command, which calls the gateway and is called by nobody."""

_CALLERS = ("gateway", "image-store", "registry-proxy")


@dataclass(frozen=True)
class Permissions:
    """Subjects that a user may publish to and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def service_permissions(service: str) -> Permissions:
    """Return what a service of the fleet may do: call everybody, and be called as itself."""
    if service == CLI:
        return Permissions(
            publish=("flotilla.rpc.gateway.>", "_INBOX.gateway.>"),
            subscribe=(f"_INBOX.{CLI}.>",),
        )
    return Permissions(
        publish=(
            "flotilla.rpc.>",
            "flotilla.notice.>",
            f"{EVENTS}.{service}",
            "_INBOX.>",
            "$JS.API.>",
        ),
        subscribe=(
            f"flotilla.rpc.{service}.>",
            f"flotilla.from.*.rpc.{service}.>",
            f"flotilla.from.*.notice.{service}.>",
            f"flotilla.notice.all.{service}.>",
            f"_INBOX.{service}.>",
        ),
    )


def node_permissions(node_id: str) -> Permissions:
    """Return what the agent of a node may do: speak as that node, and hear what is meant for it."""
    return Permissions(
        publish=(
            f"flotilla.from.{node_id}.>",
            f"{EVENTS}.node.{node_id}",
            *(f"_INBOX.{service}.>" for service in _CALLERS),
        ),
        subscribe=(
            f"flotilla.rpc.node.{node_id}.>",
            f"flotilla.notice.node.{node_id}.>",
            "flotilla.notice.all.agent.>",
            f"_INBOX.node.{node_id}.>",
        ),
    )
