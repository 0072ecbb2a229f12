"""Which events ``GET /events`` shows: dockerd's rules (moby ``daemon/events/filter.go``)."""

from flotilla_engine.events import EventMessage
from flotilla_engine.filters import Filters

_FUZZY_ACTIONS = frozenset({"health_status", "exec_create", "exec_start"})
_BY_NAME = ("container", "daemon", "network", "plugin", "service", "secret", "config", "volume")


def includes(filters: Filters, event: EventMessage) -> bool:
    """Tell whether the filters let an event through."""
    if not filters:
        return True
    attributes = event.actor.attributes
    return (
        _action(filters, event.action)
        and filters.exact("type", event.type)
        and filters.exact("scope", event.scope)
        and all(_name(filters, kind, event) for kind in _BY_NAME if kind in filters)
        and ("image" not in filters or _image(filters, event))
        and ("node" not in filters or _node(filters, event))
        and filters.labels(attributes)
    )


def _action(filters: Filters, action: str) -> bool:
    if _FUZZY_ACTIONS.intersection(filters.get("event")):
        return filters.fuzzy("event", action)
    return filters.exact("event", action)


def _name(filters: Filters, kind: str, event: EventMessage) -> bool:
    name = event.actor.attributes.get("name", "")
    return filters.fuzzy(kind, event.actor.id) or filters.fuzzy(kind, name)


def _image(filters: Filters, event: EventMessage) -> bool:
    attribute = "image" if event.type == "container" else "name"
    names = (event.actor.id, event.actor.attributes.get(attribute, ""))
    return any(
        filters.exact("image", name) or filters.exact("image", _without_tag(name)) for name in names
    )


def _without_tag(reference: str) -> str:
    name = reference.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    return head + slash + tail.partition(":")[0]


def _node(filters: Filters, event: EventMessage) -> bool:
    attributes = event.actor.attributes
    if event.type == "node":
        return _name(filters, "node", event)
    return filters.exact("node", attributes.get("node.name", "")) or filters.fuzzy(
        "node", attributes.get("node.id", "")
    )
