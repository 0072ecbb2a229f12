"""`docker cp`: stat, download and upload of paths in containers."""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import AsyncIterator

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flotilla_bus import Stream
from flotilla_bus.contracts import agent
from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_gateway.answers import empty_response
from flotilla_gateway.deps import BusDep, FleetDep, ViewDep
from flotilla_gateway.query import Query
from flotilla_gateway.streams import BodyStream, GeneratedBody, send_body
from flotilla_server.http import body_parts

router = APIRouter(prefix="/containers", tags=["Container"])

_TAR = "application/x-tar"
_STAT_HEADER = "X-Docker-Container-Path-Stat"


def _path(request: Request) -> str:
    path = Query(request).text("path")
    if not path:
        raise InvalidArgumentError("bad parameter: pathcannot be empty")
    if "\0" in path:
        raise InvalidArgumentError("invalid argument")
    return path


def _stat_header(stat: agent.PathStat) -> dict[str, str]:
    document = {
        "name": stat.name,
        "size": stat.size,
        "mode": stat.mode,
        "mtime": stat.mtime,
        "linkTarget": stat.link_target,
    }
    return {_STAT_HEADER: base64.b64encode(orjson.dumps(document)).decode()}


@router.head("/{name}/archive", operation_id="ContainerArchiveInfo")
async def stat(
    name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep
) -> Response:
    """Describe a path."""
    path = _path(request)
    located = await fleet.locator.container(name, view)
    asked = agent.ArchiveRequest(container=located.id, reference=name, path=path)
    found = await bus.call(agent.ARCHIVE_STAT, asked, node=located.node_id)
    return Response(None, 200, _stat_header(found))


@router.get("/{name}/archive", operation_id="ContainerArchive")
async def download(
    name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep
) -> Response:
    """Send a path as tar, compressed if the client takes that."""
    path = _path(request)
    located = await fleet.locator.container(name, view)
    asked = agent.ArchiveRequest(container=located.id, reference=name, path=path)
    found, stream = await bus.open(agent.ARCHIVE_GET, asked, node=located.node_id)
    headers = _stat_header(found)
    encoding = _encoding(request.headers.get("accept-encoding", ""))
    if not encoding:
        return BodyStream(stream, _TAR, headers)
    response = GeneratedBody(_compressed(stream, encoding), _TAR)
    response.headers.update({**headers, "Content-Encoding": encoding})
    return response


def _encoding(accepted: str) -> str:
    names = {part.partition(";")[0].strip() for part in accepted.lower().split(",")}
    return next((name for name in ("gzip", "deflate") if name in names), "")


async def _compressed(stream: Stream, encoding: str) -> AsyncIterator[bytes]:
    window = zlib.MAX_WBITS | 16 if encoding == "gzip" else -zlib.MAX_WBITS
    compressor = zlib.compressobj(level=1, wbits=window)
    async with stream:
        while data := await stream.read():
            if compressed := await asyncio.to_thread(compressor.compress, data):
                yield compressed
        yield compressor.flush()


@router.put("/{name}/archive", operation_id="PutContainerArchive")
async def upload(
    name: str, request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep
) -> Response:
    """Extract a tar into a folder."""
    path, query = _path(request), Query(request)
    located = await fleet.locator.container(name, view)
    asked = agent.ArchivePutRequest(
        container=located.id,
        reference=name,
        path=path,
        no_overwrite_dir_non_dir=query.flag("noOverwriteDirNonDir"),
        copy_uid_gid=query.flag("copyUIDGID"),
    )
    _, stream = await bus.open(agent.ARCHIVE_PUT, asked, node=located.node_id)
    async with stream:
        try:
            await send_body(body_parts(request.scope, request.receive), stream)
        except ConnectionResetError:
            raise InvalidArgumentError("unexpected EOF") from None
        except FlotillaError:
            pass  # the read that follows tells why
        while await stream.read():
            pass
    return empty_response(200)
