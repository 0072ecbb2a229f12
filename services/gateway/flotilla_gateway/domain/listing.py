"""The list of containers: filters that need look-ups are looked up first, the rest is matching."""

from flotilla_bus.contracts import images
from flotilla_core.errors import FlotillaError
from flotilla_engine.container_filters import container_query
from flotilla_engine.filters import CONTAINER_LIST, Filters
from flotilla_engine.records import ContainerRecord, NodeRecord
from flotilla_gateway.domain.fleet import Fleet
from flotilla_gateway.domain.views import View


async def listed(
    fleet: Fleet, view: View, *, filters: str, all: bool, limit: int
) -> list[tuple[ContainerRecord, NodeRecord]]:
    """Return what ``GET /containers/json`` lists, newest first.

    Raises:
        FlotillaError: In dockerd's words, if a filter is wrong.
    """
    parsed = Filters.parse(filters, CONTAINER_LIST)
    found: dict[str, ContainerRecord] = {}
    for reference in (*parsed.get("before"), *parsed.get("since")):
        located = await fleet.locator.container(reference, view, reachable=False)
        found[reference] = located.record
    ancestors = {reference: await _family(fleet, reference) for reference in parsed.get("ancestor")}
    query = container_query(
        filters,
        all=all,
        limit=limit,
        find=found.__getitem__,
        ancestors=lambda reference: ancestors[reference],
    )
    matching = [
        (record, node)
        for record, node in await fleet.containers.all(view)
        if query.matches(record, node.id, node.name)
    ]
    return matching[:limit] if limit > 0 else matching


async def _family(fleet: Fleet, reference: str) -> set[str]:
    """Return the ids of an image and of those that were built on it, as their parents say."""
    try:
        image = await fleet.creation.drafts.image(reference)
    except FlotillaError:
        return set()
    answer = await fleet.bus.call(images.LIST, images.ListRequest(all=True))
    children: dict[str, set[str]] = {}
    for listed in answer.images:
        children.setdefault(listed.image.parent, set()).add(listed.image.id)
    family: set[str] = set()
    open_ids = {image.id}
    while open_ids:
        family |= open_ids
        open_ids = {child for parent in open_ids for child in children.get(parent, ())} - family
    return family
