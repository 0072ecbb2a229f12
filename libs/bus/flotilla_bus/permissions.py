"""What each user of the bus may say and hear: a node only as itself, a service everything.

The lists are subjects in NATS' notation, for the `permissions` of a user in nats-server's
configuration.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Permissions:
    """Subjects that a user may publish to and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def service_permissions(service: str) -> Permissions:
    """Return what a service (or the `flotilla` command, `cli`) may do."""
    inbox = f"_INBOX.{service}.>"
    return Permissions(
        publish=("flotilla.>", "_INBOX.>", "$JS.>"),
        subscribe=("flotilla.>", inbox, "$JS.>"),
    )


def node_permissions(node_id: str) -> Permissions:
    """Return what the agent of a node may do: speak as that node, and hear what is meant for it."""
    return Permissions(
        publish=(f"flotilla.from.{node_id}.>", f"flotilla.events.{node_id}.>", "_INBOX.>"),
        subscribe=(
            f"flotilla.rpc.node.{node_id}.>",
            f"flotilla.notice.node.{node_id}.>",
            "flotilla.notice.all.>",
            f"_INBOX.node.{node_id}.>",
        ),
    )
