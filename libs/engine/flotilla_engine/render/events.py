"""Events on the wire (``EventMessage``), with the fields of old versions."""

from typing import Any

from flotilla_engine.events import EventMessage


def event_fields(event: EventMessage) -> dict[str, Any]:
    """Return an event as dockerd sends it up to API 1.51.

    ``status``, ``id`` and ``from`` are there for containers and images only.
    """
    fields: dict[str, Any] = {}
    actor = event.actor
    if event.type == "container":
        fields = {"status": event.action, "id": actor.id}
        if image := actor.attributes.get("image"):
            fields["from"] = image
    elif event.type == "image":
        fields = {"status": event.action, "id": actor.id}
    return {
        **fields,
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": actor.id, "Attributes": actor.attributes},
        "scope": event.scope,
        "time": event.time,
        "timeNano": event.time_nano,
    }
