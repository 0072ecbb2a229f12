"""Ping, version, info, events and registry login."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import orjson
from fastapi import APIRouter
from pydantic import Field, SecretStr
from starlette.requests import Request
from starlette.responses import Response

from flotilla_bus.contracts import registry
from flotilla_bus.events import StoredEvent, events_since
from flotilla_core.clock import now
from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_engine.event_filters import includes
from flotilla_engine.events import EventMessage
from flotilla_engine.filters import Filters
from flotilla_engine.model import EngineModel
from flotilla_engine.render import event_fields
from flotilla_engine.timestamps import parse_moment, unix_ns
from flotilla_engine.versions import MAXIMUM, MINIMUM, version_text
from flotilla_gateway.answers import JSON, json_response
from flotilla_gateway.bodies import required_json
from flotilla_gateway.deps import BusDep, FleetDep, ViewDep
from flotilla_gateway.domain.fleet import Fleet
from flotilla_gateway.domain.views import View
from flotilla_gateway.query import Query
from flotilla_gateway.streams import GeneratedBody
from flotilla_gateway.system_info import info_fields
from flotilla_gateway.version import ENGINE_VERSION, FLOTILLA_VERSION, GO_VERSION

router = APIRouter(tags=["System"])

_NS = 1_000_000_000
_LATE_S = 0.5
"""How long events may be on their way to us."""
_PING_HEADERS = {
    "Builder-Version": "1",
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
}


@router.api_route("/_ping", methods=["GET", "HEAD"], operation_id="SystemPing")
async def ping(request: Request) -> Response:
    """Answer that the gateway is there, and what it speaks."""
    body = b"" if request.method == "HEAD" else b"OK"
    return Response(body, 200, _PING_HEADERS, "text/plain")


@router.get("/version", operation_id="SystemVersion")
async def version(fleet: FleetDep, view: ViewDep) -> Response:
    """Return what runs here."""
    nodes = [node for node in await fleet.nodes.all() if view.shows(node.id)]
    first = nodes[0].info if nodes else None
    details = {
        "ApiVersion": version_text(MAXIMUM),
        "Arch": first.node.platform.architecture if first else "amd64",
        "BuildTime": "2026-11-28T00:00:00.000000000+00:00",
        "Experimental": "false",
        "GitCommit": FLOTILLA_VERSION,
        "GoVersion": GO_VERSION,
        "KernelVersion": first.kernel_version if first else "",
        "MinAPIVersion": version_text(MINIMUM),
        "Os": "linux",
    }
    engine = {"Name": "Engine", "Version": ENGINE_VERSION, "Details": details}
    flotilla = {"Name": "flotilla", "Version": FLOTILLA_VERSION, "Details": {}}
    top = {key: value for key, value in details.items() if key != "Experimental"}
    return json_response(
        {
            "Platform": {"Name": f"Flotilla {FLOTILLA_VERSION}"},
            "Components": [engine, flotilla],
            "Version": ENGINE_VERSION,
            **top,
        }
    )


@router.get("/info", operation_id="SystemInfo")
async def info(fleet: FleetDep, bus: BusDep, view: ViewDep) -> Response:
    """Return sums over the fleet, and a block for each node."""
    return json_response(await info_fields(fleet, bus, view))


@router.get("/events", operation_id="SystemEvents")
async def events(request: Request, bus: BusDep, fleet: FleetDep, view: ViewDep) -> Response:
    """Send events: those since a moment, those that come, or both."""
    query = Query(request)
    since_ns, until_ns = _moment(query, "since"), _moment(query, "until")
    if since_ns is not None and until_ns is not None and since_ns > until_ns:
        raise InvalidArgumentError(
            f"`since` time ({since_ns // _NS}) cannot be after `until` time ({until_ns // _NS})"
        )
    filters = Filters.parse(query.text("filters"))
    live = until_ns is None or until_ns > unix_ns(now())
    resources = AsyncExitStack()
    if since_ns is None and not live:
        since_ns = 0
    source = await resources.enter_async_context(events_since(bus, since_ns, live=live))
    told = _of_nodes(source, fleet, view)
    lines = _lines(told, filters, until_ns, live=live)
    return GeneratedBody(lines, JSON, resources=resources)


def _moment(query: Query, name: str) -> int | None:
    text = query.text(name)
    if not text:
        return None
    try:
        return parse_moment(text, now())
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from None


async def _of_nodes(
    source: AsyncIterator[StoredEvent], fleet: Fleet, view: View
) -> AsyncIterator[EventMessage]:
    """Give the view's events, with where they happened as classic Swarm told it."""
    async for stored in source:
        attributes = stored.event.actor.attributes
        node_id = stored.node or attributes.get("node.id")
        if node_id:
            node = None
            with contextlib.suppress(FlotillaError):  # the name is told if the catalogue is there
                node = (await fleet.nodes.known()).get(node_id)
            attributes["node.id"] = node_id
            if node is not None:
                attributes["node.name"] = node.name
                attributes["node.addr"] = attributes["node.ip"] = node.info.node.address
        if view.node_id is None or view.node_id == node_id:
            yield stored.event


async def _lines(
    source: AsyncIterator[EventMessage],
    filters: Filters,
    until_ns: int | None,
    *,
    live: bool,
) -> AsyncIterator[bytes]:
    """Give the events that pass, each as a line, up to the moment."""
    iterator = aiter(source)
    while True:
        left_s = None
        if live and until_ns is not None:
            left_s = max(_LATE_S, (until_ns - unix_ns(now())) / _NS)
        try:
            async with asyncio.timeout(left_s):
                event = await anext(iterator)
        except (TimeoutError, StopAsyncIteration):
            return
        if until_ns is not None and event.time_nano > until_ns:
            if event.time_nano > until_ns + _LATE_S * _NS:
                return
            continue
        if includes(filters, event):
            yield orjson.dumps(event_fields(event), option=orjson.OPT_APPEND_NEWLINE)


class AuthBody(EngineModel):
    """``AuthConfig`` of the Engine API; its wire names are lower case."""

    username: str = Field(default="", alias="username")
    password: SecretStr = Field(default=SecretStr(""), alias="password")
    server_address: str = Field(default="", alias="serveraddress")
    identity_token: SecretStr = Field(default=SecretStr(""), alias="identitytoken")
    registry_token: SecretStr = Field(default=SecretStr(""), alias="registrytoken")


@router.post("/auth", operation_id="SystemAuth")
async def auth(request: Request, bus: BusDep) -> Response:
    """Try a login at a registry."""
    body = await required_json(request, AuthBody)
    credentials = registry.Credentials(
        username=body.username,
        password=body.password,
        identity_token=body.identity_token,
        registry_token=body.registry_token,
        server_address=body.server_address,
    )
    asked = registry.AuthRequest(credentials=credentials)
    answer = await bus.call(registry.AUTH, asked, timeout_s=60)
    return json_response({"Status": answer.status, "IdentityToken": answer.identity_token})
