"""The events of images, as dockerd words them."""

import time
from collections.abc import Mapping
from typing import Protocol

from flotilla_engine.events import Actor, EventMessage


class Events(Protocol):
    """Where events go."""

    def publish(self, event: EventMessage) -> None:
        """Tell everybody; the event is safe on disk when this returns."""
        ...


def image_event(
    action: str, subject: str, name: str, labels: Mapping[str, str] | None = None
) -> EventMessage:
    """Return an event of now about an image, whose labels become attributes."""
    now = time.time_ns()
    return EventMessage(
        type="image",
        action=action,
        actor=Actor(id=subject, attributes={**(labels or {}), "name": name}),
        scope="local",
        time=now // 1_000_000_000,
        time_nano=now,
    )
