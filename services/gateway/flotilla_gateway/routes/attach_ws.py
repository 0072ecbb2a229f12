"""Attach over a web socket: binary frames both ways, without multiplexing."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from flotilla_bus import Stream
from flotilla_bus.contracts import agent
from flotilla_core.errors import FlotillaError
from flotilla_gateway.deps import BusDep, FleetDep, VersionDep, ViewDep
from flotilla_gateway.errors import error_response
from flotilla_gateway.query import Query
from flotilla_gateway.routes.containers_io import attach_request

router = APIRouter(prefix="/containers")


@router.websocket("/{name}/attach/ws")
async def attach(
    name: str,
    websocket: WebSocket,
    fleet: FleetDep,
    bus: BusDep,
    view: ViewDep,
    version: VersionDep,
) -> None:
    """Join a web socket to a container's streams."""
    query = Query(websocket)
    try:
        located = await fleet.locator.container(name, view)
        asked = attach_request(located.id, query).model_copy(update={"mux": False})
        _, stream = await bus.open(agent.ATTACH, asked, node=located.node_id)
    except FlotillaError as error:
        await websocket.send_denial_response(error_response(error))
        return
    async with stream:
        await websocket.accept()
        incoming = asyncio.create_task(_incoming(websocket, stream, takes_input=asked.stdin))
        outgoing = asyncio.create_task(_outgoing(websocket, stream, binary=version >= (1, 28)))
        try:
            await asyncio.wait([incoming, outgoing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (incoming, outgoing):
                task.cancel()
            await asyncio.gather(incoming, outgoing, return_exceptions=True)
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await websocket.close()


async def _incoming(websocket: WebSocket, stream: Stream, *, takes_input: bool) -> None:
    while (message := await websocket.receive())["type"] != "websocket.disconnect":
        data = message.get("bytes") or (message.get("text") or "").encode()
        if takes_input and data:
            await stream.write(data)


async def _outgoing(websocket: WebSocket, stream: Stream, *, binary: bool) -> None:
    while data := await stream.read():
        if binary:
            await websocket.send_bytes(data)
        else:
            await websocket.send_text(data.decode(errors="replace"))
