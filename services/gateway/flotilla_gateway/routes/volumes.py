"""Volumes: create, list, inspect, update, remove, prune."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from flotilla_core.errors import InvalidArgumentError, UnavailableError
from flotilla_engine.filters import VOLUME_LIST, VOLUME_PRUNE, Filters
from flotilla_engine.model import EngineModel
from flotilla_engine.records import VolumeRecord
from flotilla_engine.render import volume_fields
from flotilla_gateway.answers import empty_response, json_response
from flotilla_gateway.bodies import optional_json
from flotilla_gateway.deps import EventsDep, FleetDep, VersionDep, ViewDep
from flotilla_gateway.domain.events import pruned
from flotilla_gateway.domain.fleet import Fleet
from flotilla_gateway.query import Query

router = APIRouter(prefix="/volumes", tags=["Volume"])

_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)


class VolumeCreate(EngineModel):
    """Body of ``VolumeCreate``."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    cluster_volume_spec: dict[str, Any] | None = None


@router.post("/create", operation_id="VolumeCreate")
async def create(request: Request, fleet: FleetDep, view: ViewDep) -> Response:
    """Make a volume, or return the one of that name."""
    body = await optional_json(request, VolumeCreate)
    if body.cluster_volume_spec is not None:
        raise UnavailableError(_NO_SWARM)
    volume = await fleet.volumes.create(body.name, body.driver, body.driver_opts, body.labels, view)
    return json_response(await _fields(fleet, volume), status=201)


async def _fields(fleet: Fleet, volume: VolumeRecord) -> dict[str, Any]:
    node = (await fleet.nodes.known()).get(volume.node_id)
    if node is None:
        return volume_fields(volume)
    is_silent = fleet.nodes.silent_s(node) is not None
    return volume_fields(volume, node_name=node.name, is_silent=is_silent)


@router.get("", operation_id="VolumeList")
async def list_volumes(request: Request, fleet: FleetDep, view: ViewDep) -> Response:
    """Return volumes."""
    try:
        filters = Filters.parse(Query(request).text("filters"))
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"error reading volume filters: {error.message}") from error
    filters.check(VOLUME_LIST)
    found = await fleet.volumes.all(view)
    if "dangling" in filters:
        dangling = filters.flag("dangling", default=False)
        users = await fleet.volumes.users()
        found = [volume for volume in found if (volume.name not in users) == dangling]
    documents = [
        await _fields(fleet, volume)
        for volume in found
        if filters.match("name", volume.name)
        and filters.exact("driver", volume.driver)
        and filters.labels(volume.labels)
        and await _is_on(fleet, volume, filters)
    ]
    return json_response({"Volumes": documents, "Warnings": None})


async def _is_on(fleet: Fleet, volume: VolumeRecord, filters: Filters) -> bool:
    if "node" not in filters:
        return True
    node = (await fleet.nodes.known()).get(volume.node_id)
    return node is not None and (filters.exact("node", node.name) or filters.fuzzy("node", node.id))


@router.post("/prune", operation_id="VolumePrune")
async def prune(
    request: Request, fleet: FleetDep, view: ViewDep, version: VersionDep, events: EventsDep
) -> Response:
    """Remove volumes that nobody uses: anonymous ones, or all."""
    filters = Filters.parse(Query(request).text("filters"), VOLUME_PRUNE)
    every = version < (1, 42) or filters.flag("all", default=False)
    wanted = [
        volume
        for volume in await fleet.volumes.all(view)
        if (every or volume.anonymous)
        and filters.prune_labels(volume.labels)
        and await _is_on(fleet, volume, filters)
    ]
    removed, reclaimed = await fleet.volumes.prune(wanted)
    await events.publish(pruned("volume", reclaimed))
    return json_response({"VolumesDeleted": removed, "SpaceReclaimed": reclaimed})


@router.get("/{name:path}", operation_id="VolumeInspect")
async def inspect(name: str, fleet: FleetDep, view: ViewDep) -> Response:
    """Return a volume."""
    return json_response(await _fields(fleet, await fleet.volumes.get(name, view)))


@router.put("/{name:path}", operation_id="VolumeUpdate")
async def update(name: str) -> Response:
    """Refuse: only cluster volumes of Swarm can be changed."""
    raise UnavailableError("volume update only valid for cluster volumes, but swarm is unavailable")


@router.delete("/{name:path}", operation_id="VolumeDelete")
async def remove(name: str, request: Request, fleet: FleetDep, view: ViewDep) -> Response:
    """Remove a volume with its data."""
    await fleet.volumes.remove(name, force=Query(request).flag("force"), view=view)
    return empty_response()
