"""Events that the gateway itself publishes: of networks and volumes, and that it pruned."""

from typing import Protocol

from flotilla_core.clock import now
from flotilla_engine.events import Actor, EventMessage
from flotilla_engine.timestamps import unix_ns


class EventSink(Protocol):
    """Where events go; returns at once."""

    async def publish(self, event: EventMessage) -> None:
        """Take an event."""
        ...


def event(kind: str, action: str, identifier: str, attributes: dict[str, str]) -> EventMessage:
    """Return an event of now."""
    moment_ns = unix_ns(now())
    return EventMessage(
        type=kind,
        action=action,
        actor=Actor(id=identifier, attributes=attributes),
        time=moment_ns // 10**9,
        time_nano=moment_ns,
    )


def pruned(kind: str, reclaimed_bytes: int) -> EventMessage:
    """Return the event after a prune."""
    return event(kind, "prune", "", {"reclaimed": str(reclaimed_bytes)})
