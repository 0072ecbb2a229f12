"""Streams and looks into containers: attach, logs, wait, stats, top, changes, resize, export."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flotilla_bus import Stream
from flotilla_bus.contracts import agent
from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_engine.timestamps import parse_unix
from flotilla_gateway.answers import JSON, empty_response, json_response
from flotilla_gateway.deps import BusDep, FleetDep, VersionDep, ViewDep
from flotilla_gateway.domain.fleet import Fleet
from flotilla_gateway.domain.locator import Located
from flotilla_gateway.query import Query, go_integer
from flotilla_gateway.streams import (
    RAW,
    BodyStream,
    GeneratedBody,
    HijackedStream,
    stream_type,
)

router = APIRouter(prefix="/containers", tags=["Container"])

_CONDITIONS = ("not-running", "next-exit", "removed")


@router.post("/{name}/attach", operation_id="ContainerAttach")
async def attach(
    name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep, version: VersionDep
) -> Response:
    """Join the client to a container's streams."""
    located = await fleet.locator.container(name, view)
    asked = attach_request(located.id, Query(request))
    answer, stream = await bus.open(agent.ATTACH, asked, node=located.node_id)
    upgrades = "upgrade" in request.headers
    content_type = stream_type(tty=answer.tty, version=version) if upgrades else RAW
    first = b"\0" if answer.tty and asked.stdin and _is_cli_over_tcp(request) else b""
    takes_input = asked.stdin and asked.stream
    return HijackedStream(
        stream, content_type, takes_input=takes_input, tty=answer.tty, first=first
    )


def _is_cli_over_tcp(request: Request) -> bool:
    """Tell whether the client is the CLI that misses the detach keys on a bare TCP connection.

    Go wraps their error in the connection's own there (`net.TCPConn.ReadFrom`), and the CLI would
    wait for the container's exit. It wraps the connection instead if bytes come with the headers,
    so a NUL is sent first, which terminals ignore.
    """
    agent_name = request.headers.get("user-agent", "")
    return (
        agent_name.startswith("Docker-Client/")
        and request.client is not None
        and request.url.scheme == "http"
    )


def attach_request(container: str, query: Query) -> agent.AttachRequest:
    """Read how to attach."""
    return agent.AttachRequest(
        container=container,
        stream=query.flag("stream"),
        logs=query.flag("logs"),
        stdin=query.flag("stdin"),
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        detach_keys=query.text("detachKeys"),
    )


@router.get("/{name}/logs", operation_id="ContainerLogs")
async def logs(
    name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep, version: VersionDep
) -> Response:
    """Send a container's log."""
    query = Query(request)
    if not (query.flag("stdout") or query.flag("stderr")):
        raise InvalidArgumentError("Bad parameters: you must choose at least one stream")
    located = await fleet.locator.container(name, view)
    asked = agent.LogsRequest(
        container=located.id,
        follow=query.flag("follow"),
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        since_ns=_moment(query, "since"),
        until_ns=_moment(query, "until"),
        timestamps=query.flag("timestamps"),
        tail=_tail(query.text("tail")),
        details=query.flag("details"),
    )
    answer, stream = await bus.open(agent.LOGS, asked, node=located.node_id)
    return BodyStream(stream, stream_type(tty=answer.tty, version=version))


def _moment(query: Query, name: str) -> int:
    value = query.text(name)
    if not value:
        return 0
    try:
        return parse_unix(value)
    except ValueError as error:
        raise InvalidArgumentError(f'invalid value for "{name}": {error}') from None


def _tail(text: str) -> int:
    """Read how many lines to send; all, if that is no number."""
    try:
        return max(-1, go_integer(text))
    except ValueError:
        return -1


@router.post("/{name}/wait", operation_id="ContainerWait")
async def wait(
    name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep, version: VersionDep
) -> Response:
    """Wait for a container; the headers go out as soon as the wait is registered."""
    condition = Query(request).text("condition") if version >= (1, 30) else ""
    if condition and condition not in _CONDITIONS:
        raise InvalidArgumentError(f'invalid condition: "{condition}"')
    located = await fleet.locator.container(name, view)
    asked = agent.WaitRequest(container=located.id, condition=condition or "not-running")
    _, stream = await bus.open(agent.WAIT, asked, node=located.node_id)
    return GeneratedBody(_outcome(stream, fleet, located, removed=condition == "removed"), JSON)


async def _outcome(
    stream: Stream, fleet: Fleet, located: Located, *, removed: bool
) -> AsyncIterator[bytes]:
    """Give the wait's end; also an error, since the status is sent already."""
    async with stream:
        try:
            text = b"".join([data async for data in _read(stream)])
            outcome = agent.WaitOutcome.model_validate_json(text)
        except (FlotillaError, ValueError) as error:
            outcome = agent.WaitOutcome(status_code=-1, error=str(error))
    if not outcome.error:
        with contextlib.suppress(FlotillaError):
            await fleet.containers.caught_up(located, removed=removed)
    document: dict[str, object] = {"StatusCode": outcome.status_code}
    if outcome.error:
        document["Error"] = {"Message": outcome.error}
    yield orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


async def _read(stream: Stream) -> AsyncIterator[bytes]:
    while data := await stream.read():
        yield data


@router.get("/{name}/stats", operation_id="ContainerStats")
async def stats(
    name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep, version: VersionDep
) -> Response:
    """Send a container's resource usage, once or every second."""
    query = Query(request)
    streaming = query.flag("stream", default=True)
    one_shot = version >= (1, 41) and query.flag("one-shot")
    if streaming and one_shot:
        raise InvalidArgumentError("cannot have stream=true and one-shot=true")
    located = await fleet.locator.container(name, view)
    asked = agent.StatsRequest(container=located.id, stream=streaming, one_shot=one_shot)
    _, stream = await bus.open(agent.STATS, asked, node=located.node_id)
    return BodyStream(stream, JSON)


@router.get("/{name}/top", operation_id="ContainerTop")
async def top(name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep) -> Response:
    """List a container's processes."""
    located = await fleet.locator.container(name, view)
    asked = agent.TopRequest(container=located.id, ps_args=Query(request).text("ps_args"))
    answer = await bus.call(agent.TOP, asked, node=located.node_id)
    return json_response({"Titles": answer.titles, "Processes": answer.processes})


@router.get("/{name}/changes", operation_id="ContainerChanges")
async def changes(name: str, fleet: FleetDep, bus: BusDep, view: ViewDep) -> Response:
    """List the paths that differ from the image."""
    located = await fleet.locator.container(name, view)
    request = agent.ContainerRequest(container=located.id)
    answer = await bus.call(agent.CHANGES, request, timeout_s=120, node=located.node_id)
    listed = [{"Path": change.path, "Kind": change.kind} for change in answer.changes]
    return json_response(listed or None)


@router.post("/{name}/resize", operation_id="ContainerResize")
async def resize(
    name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep
) -> Response:
    """Resize a container's terminal."""
    query = Query(request)
    height, width = query.integer("h"), query.integer("w")
    located = await fleet.locator.container(name, view)
    asked = agent.ResizeRequest(container=located.id, height=height, width=width)
    await bus.call(agent.RESIZE, asked, node=located.node_id)
    return empty_response(200)


@router.get("/{name}/export", operation_id="ContainerExport")
async def export(name: str, fleet: FleetDep, bus: BusDep, view: ViewDep) -> Response:
    """Send a container's file system as tar."""
    located = await fleet.locator.container(name, view)
    request = agent.ContainerRequest(container=located.id)
    _, stream = await bus.open(agent.EXPORT, request, node=located.node_id)
    return BodyStream(stream, "application/octet-stream")
