"""Containers: create, list, inspect, and the verbs that change them."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flotilla_core.clock import now
from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_engine.bodies import decode_create
from flotilla_engine.filters import CONTAINER_PRUNE, Filters
from flotilla_engine.host_config import HostConfig
from flotilla_engine.networking import NetworkingConfig
from flotilla_engine.render import inspect_container
from flotilla_engine.timestamps import parse_moment, unix_ns
from flotilla_engine.updates import UpdateConfig
from flotilla_gateway.answers import JSON, empty_response, json_response
from flotilla_gateway.bodies import read_body, required_json
from flotilla_gateway.deps import EventsDep, FleetDep, SummariesDep, VersionDep, ViewDep
from flotilla_gateway.domain.drafts import CreateRequest
from flotilla_gateway.domain.events import pruned
from flotilla_gateway.domain.listing import listed
from flotilla_gateway.query import Query
from flotilla_gateway.summaries import sized_summaries

router = APIRouter(prefix="/containers", tags=["Container"])


@router.post("/create", operation_id="ContainerCreate")
async def create(request: Request, fleet: FleetDep, view: ViewDep, version: VersionDep) -> Response:
    """Make a container."""
    body = decode_create(await read_body(request), request.headers.get("content-type", ""))
    query = Query(request)
    container_id, warnings = await fleet.creation.create(
        CreateRequest(
            name=query.text("name"),
            config=body,
            host_config=body.host_config or HostConfig(),
            networking=body.networking_config or NetworkingConfig(),
            platform=query.text("platform") if version >= (1, 41) else "",
            version=version,
            view=view,
        )
    )
    return json_response({"Id": container_id, "Warnings": warnings}, status=201)


@router.get("/json", operation_id="ContainerList")
async def list_containers(
    request: Request,
    fleet: FleetDep,
    view: ViewDep,
    version: VersionDep,
    summaries: SummariesDep,
) -> Response:
    """Return containers, newest first."""
    query = Query(request)
    found = await listed(
        fleet,
        view,
        filters=query.text("filters"),
        all=query.flag("all"),
        limit=query.integer("limit") if query.text("limit") else 0,
    )
    if query.flag("size"):
        sizes = await fleet.containers.sizes([record for record, _ in found])
        return json_response(sized_summaries(found, version, sizes))
    return Response(summaries.json(found, version), media_type=JSON)


@router.get("/{name}/json", operation_id="ContainerInspect")
async def inspect(
    name: str, request: Request, fleet: FleetDep, view: ViewDep, version: VersionDep
) -> Response:
    """Return all that is known of a container."""
    record, node = await fleet.containers.inspect(name, view)
    size = None
    if Query(request).flag("size"):
        size = (await fleet.containers.sizes([record])).get(record.id)
    return json_response(inspect_container(record, version, node=node, size=size))


@router.post("/{name}/start", operation_id="ContainerStart")
async def start(
    name: str, request: Request, fleet: FleetDep, view: ViewDep, version: VersionDep
) -> Response:
    """Start a container."""
    if version >= (1, 24) and len(await read_body(request)) > len("{}\n"):
        raise InvalidArgumentError(
            "starting container with non-empty request body was deprecated since API v1.22 and "
            "removed in v1.24"
        )
    await fleet.containers.start(name, view, detach_keys=Query(request).text("detachKeys"))
    return empty_response()


@router.post("/{name}/stop", operation_id="ContainerStop")
async def stop(
    name: str, request: Request, fleet: FleetDep, view: ViewDep, version: VersionDep
) -> Response:
    """Stop a container."""
    await fleet.containers.stop(name, view, **_stop_options(Query(request), version))
    return empty_response()


@router.post("/{name}/restart", operation_id="ContainerRestart")
async def restart(
    name: str, request: Request, fleet: FleetDep, view: ViewDep, version: VersionDep
) -> Response:
    """Stop and start a container."""
    await fleet.containers.restart(name, view, **_stop_options(Query(request), version))
    return empty_response()


def _stop_options(query: Query, version: tuple[int, int]) -> dict[str, Any]:
    signal = query.text("signal") if version >= (1, 42) else ""
    timeout = query.integer("t") if query.text("t") else None
    return {"signal": signal or None, "timeout_s": timeout}


@router.post("/{name}/kill", operation_id="ContainerKill")
async def kill(name: str, request: Request, fleet: FleetDep, view: ViewDep) -> Response:
    """Send a signal to a container."""
    await fleet.containers.kill(name, view, signal=Query(request).text("signal"))
    return empty_response()


@router.post("/{name}/pause", operation_id="ContainerPause")
async def pause(name: str, fleet: FleetDep, view: ViewDep) -> Response:
    """Freeze a container."""
    await fleet.containers.pause(name, view)
    return empty_response()


@router.post("/{name}/unpause", operation_id="ContainerUnpause")
async def unpause(name: str, fleet: FleetDep, view: ViewDep) -> Response:
    """Thaw a container."""
    await fleet.containers.unpause(name, view)
    return empty_response()


@router.post("/{name}/rename", operation_id="ContainerRename")
async def rename(name: str, request: Request, fleet: FleetDep, view: ViewDep) -> Response:
    """Give a container another name."""
    await fleet.containers.rename(name, Query(request).text("name"), view)
    return empty_response()


@router.post("/{name}/update", operation_id="ContainerUpdate")
async def update(name: str, request: Request, fleet: FleetDep, view: ViewDep) -> Response:
    """Change a container's limits and restart policy."""
    changes = await required_json(request, UpdateConfig)
    warnings = await fleet.containers.update(name, changes, view)
    return json_response({"Warnings": warnings or None})


@router.delete("/{name}", operation_id="ContainerDelete")
async def remove(name: str, request: Request, fleet: FleetDep, view: ViewDep) -> Response:
    """Remove a container."""
    query = Query(request)
    await fleet.containers.remove(
        name, view, force=query.flag("force"), volumes=query.flag("v"), link=query.flag("link")
    )
    return empty_response()


@router.post("/prune", operation_id="ContainerPrune")
async def prune(request: Request, fleet: FleetDep, view: ViewDep, events: EventsDep) -> Response:
    """Remove containers that do not run."""
    filters = Filters.parse(Query(request).text("filters"), CONTAINER_PRUNE)
    before_ns = until_ns(filters)
    wanted = [
        record
        for record, node in await fleet.containers.all(view)
        if filters.prune_labels(record.config.labels)
        and (before_ns is None or unix_ns(record.created) < before_ns)
        and ("node" not in filters or filters.exact("node", node.name))
    ]
    removed, reclaimed = await fleet.containers.prune(wanted)
    await events.publish(pruned("container", reclaimed))
    return json_response({"ContainersDeleted": removed or None, "SpaceReclaimed": reclaimed})


def until_ns(filters: Filters) -> int | None:
    """Return the filter ``until`` as nanoseconds since the epoch, or None.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    values = filters.get("until")
    if not values:
        return None
    if len(values) > 1:
        raise InvalidArgumentError("more than one until filter specified")
    try:
        return parse_moment(values[0], now())
    except (ValueError, FlotillaError) as error:
        raise InvalidArgumentError(
            f'failed to parse value as time or duration: "{values[0]}"'
        ) from error
