"""`docker system df`: what images, containers and volumes take."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flotilla_bus import Bus
from flotilla_bus.contracts import images
from flotilla_bus.methods import Empty
from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.records import ContainerRecord, NodeRecord
from flotilla_engine.render import container_summary, image_summary, volume_fields
from flotilla_engine.versions import Version
from flotilla_gateway.answers import json_response
from flotilla_gateway.deps import BusDep, FleetDep, VersionDep, ViewDep
from flotilla_gateway.domain.fleet import Fleet
from flotilla_gateway.domain.views import View
from flotilla_gateway.query import Query

router = APIRouter(tags=["System"])

_KINDS = ("container", "image", "volume", "build-cache")
_TIMEOUT_S = 120


@router.get("/system/df", operation_id="SystemDataUsage")
async def disk_usage(
    request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep, version: VersionDep
) -> Response:
    """Return disk usage, of all kinds of objects or of those asked for."""
    kinds = Query(request).texts("type") if version >= (1, 42) else []
    for kind in kinds:
        if kind not in _KINDS:
            raise InvalidArgumentError(f"unknown object type: {kind}")
    wanted = kinds or _KINDS
    containers = await fleet.containers.all(view)
    document: dict[str, Any] = {
        "LayersSize": 0,
        "Images": None,
        "Containers": None,
        "Volumes": None,
        "BuildCache": [] if "build-cache" in wanted else None,
    }
    if "image" in wanted:
        usage = await bus.call(images.USAGE, Empty(), timeout_s=_TIMEOUT_S)
        document["LayersSize"] = usage.layers_size_bytes
        document["Images"] = await _images(bus, containers, version)
    if "container" in wanted:
        document["Containers"] = await _containers(fleet, containers, version)
    if "volume" in wanted:
        document["Volumes"] = await _volumes(fleet, view)
    return json_response(document)


Listed = list[tuple[ContainerRecord, NodeRecord]]


async def _images(bus: Bus, containers: Listed, version: Version) -> list[dict[str, Any]]:
    asked = images.ListRequest(shared_size=True)
    answer = await bus.call(images.LIST, asked, timeout_s=_TIMEOUT_S)
    uses = Counter(record.image_id for record, _ in containers)
    return [
        image_summary(
            one.image, version, containers=uses[one.image.id], shared_size=one.shared_size_bytes
        )
        for one in answer.images
    ]


async def _containers(fleet: Fleet, containers: Listed, version: Version) -> list[dict[str, Any]]:
    sizes = await fleet.containers.sizes([record for record, _ in containers])
    return [
        container_summary(record, version, node=node, size=sizes.get(record.id))
        for record, node in containers
    ]


async def _volumes(fleet: Fleet, view: View) -> list[dict[str, Any]]:
    found = await fleet.volumes.all(view)
    usage = {one.name: one for one in await fleet.volumes.usage(found)}
    known = await fleet.nodes.known()
    return [
        volume_fields(
            volume,
            node_name=known[volume.node_id].name if volume.node_id in known else "",
            usage=usage.get(volume.name),
        )
        for volume in found
    ]
