"""Processes in running containers: create, start, inspect, resize."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flotilla_bus.contracts import agent
from flotilla_core.ids import new_exec_id
from flotilla_engine.exec import ExecConfig, ExecStartConfig
from flotilla_engine.render import exec_inspect
from flotilla_engine.validate import check_exec
from flotilla_gateway.answers import empty_response, json_response
from flotilla_gateway.bodies import optional_json
from flotilla_gateway.deps import BusDep, FleetDep, VersionDep, ViewDep
from flotilla_gateway.query import Query
from flotilla_gateway.streams import RAW, HijackedStream, stream_type

router = APIRouter(tags=["Exec"])


@router.post("/containers/{name}/exec", operation_id="ContainerExec")
async def create(
    name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep, version: VersionDep
) -> Response:
    """Make an exec in a running container."""
    config = await optional_json(request, ExecConfig)
    check_exec(config)
    if version < (1, 42):
        config.console_size = None
    located = await fleet.locator.container(name, view)
    exec_id = new_exec_id(located.id)
    asked = agent.ExecCreateRequest(container=located.id, exec_id=exec_id, config=config)
    await bus.call(agent.EXEC_CREATE, asked, node=located.node_id)
    return json_response({"Id": exec_id}, 201)


@router.post("/exec/{exec_id}/start", operation_id="ExecStart")
async def start(
    exec_id: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep, version: VersionDep
) -> Response:
    """Start an exec, joined to the client unless it is to run detached."""
    options = await optional_json(request, ExecStartConfig)
    located = await fleet.locator.exec(exec_id, view)
    asked = agent.ExecStartRequest(
        container=located.id,
        exec_id=exec_id,
        detach=options.detach,
        tty=options.tty,
        console_size=options.console_size if options.tty and version >= (1, 42) else None,
    )
    if options.detach:
        await bus.call(agent.EXEC_START_DETACHED, asked, node=located.node_id)
        return empty_response(200)
    answer, stream = await bus.open(agent.EXEC_START, asked, node=located.node_id)
    tty = options.tty or answer.tty
    content_type = stream_type(tty=tty, version=version) if "upgrade" in request.headers else RAW
    return HijackedStream(stream, content_type, takes_input=True, tty=tty)


@router.get("/exec/{exec_id}/json", operation_id="ExecInspect")
async def inspect(exec_id: str, fleet: FleetDep, bus: BusDep, view: ViewDep) -> Response:
    """Return an exec as its node knows it."""
    located = await fleet.locator.exec(exec_id, view)
    request = agent.ExecRequest(container=located.id, exec_id=exec_id)
    answer = await bus.call(agent.EXEC_INSPECT, request, node=located.node_id)
    return json_response(exec_inspect(answer.record))


@router.post("/exec/{exec_id}/resize", operation_id="ExecResize")
async def resize(
    exec_id: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep
) -> Response:
    """Resize an exec's terminal."""
    query = Query(request)
    height, width = query.integer("h"), query.integer("w")
    located = await fleet.locator.exec(exec_id, view)
    asked = agent.ResizeRequest(container=located.id, exec_id=exec_id, height=height, width=width)
    await bus.call(agent.RESIZE, asked, node=located.node_id)
    return empty_response(200)
