"""Builds: `docker build` with the classic builder (`DOCKER_BUILDKIT=0`), and SDKs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flotilla_bus import Bus
from flotilla_bus.contracts.registry import Credentials
from flotilla_core.errors import (
    FlotillaError,
    InvalidArgumentError,
    NotImplementedYetError,
)
from flotilla_engine import progress
from flotilla_engine.host_config import HostConfig
from flotilla_gateway.answers import JSON
from flotilla_gateway.build import context
from flotilla_gateway.build.builder import Builder, BuildFailedError, Options
from flotilla_gateway.build.containers import BuildContainers
from flotilla_gateway.build.dockerfile import Dockerfile, parse
from flotilla_gateway.deps import BusDep, FleetDep, ViewDep
from flotilla_gateway.query import Query
from flotilla_gateway.registry_auth import parse_map
from flotilla_gateway.streams import GeneratedBody
from flotilla_oci import platforms, references
from flotilla_oci.references import Reference

router = APIRouter(tags=["Image"])

_BUILDKIT = "2"
_MAX_DOCKERFILE = 1 << 20
_LINES = 64
_NUMBERS = {
    "memory": "memory",
    "memswap": "memory_swap",
    "cpushares": "cpu_shares",
    "cpuperiod": "cpu_period",
    "cpuquota": "cpu_quota",
    "shmsize": "shm_size",
}


@router.post("/build", operation_id="ImageBuild")
async def build(request: Request, fleet: FleetDep, bus: BusDep, view: ViewDep) -> Response:
    """Build an image."""
    query = Query(request)
    if query.text("version") == _BUILDKIT:
        raise NotImplementedYetError(
            "BuildKit is not offered by Flotilla: build with DOCKER_BUILDKIT=0"
        )
    if query.text("remote") not in ("", "client-session"):
        raise InvalidArgumentError("only a context in the request's body is offered")
    options = _options(query, request)
    host_config = _host_config(query)
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(context.unpacked(request.stream()))
        dockerfile = await asyncio.to_thread(_dockerfile, folder, query.text("dockerfile"))
        containers = BuildContainers(fleet, bus, view, host_config)
        lines = _lines(bus, containers, folder, options, dockerfile)
        return GeneratedBody(lines, JSON, resources=stack.pop_all())


async def _lines(
    bus: Bus,
    containers: BuildContainers,
    folder: Path,
    options: Options,
    dockerfile: Dockerfile,
) -> AsyncIterator[bytes]:
    """Yield what the build says; a client that leaves ends it."""
    said: asyncio.Queue[bytes] = asyncio.Queue(_LINES)

    async def work() -> None:
        builder = Builder(bus, containers, folder, options, said.put)
        try:
            await builder.run(dockerfile)
        except BuildFailedError as error:
            await said.put(progress.error(error.message, code=error.code))
        except FlotillaError as error:
            await said.put(progress.error(error.message))
        await said.put(b"")

    task = asyncio.create_task(work())
    try:
        while not (task.done() and said.empty()):
            line = await _next(said, task)
            if not line:
                break
            yield line
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _next(said: "asyncio.Queue[bytes]", task: "asyncio.Task[None]") -> bytes:
    getting = asyncio.ensure_future(said.get())
    await asyncio.wait([getting, task], return_when=asyncio.FIRST_COMPLETED)
    if getting.done():
        return getting.result()
    getting.cancel()
    return said.get_nowait() if not said.empty() else b""


def _options(query: Query, request: Request) -> Options:
    platform = query.text("platform")
    return Options(
        tags=[_tag(text) for text in query.texts("t") if text],
        arguments=_texts(query, "buildargs"),
        labels=_texts(query, "labels"),
        target=query.text("target"),
        platform=str(platforms.parse(platform)) if platform else "",
        uses_cache=not query.flag("nocache"),
        pulls=query.flag("pull"),
        removes=query.flag("rm", default=True),
        removes_after_failure=query.flag("forcerm"),
        is_quiet=query.flag("q"),
        credentials=_credentials(request),
    )


def _tag(text: str) -> Reference:
    reference = references.parse(text)
    if reference.digest:
        raise InvalidArgumentError("build tag cannot contain a digest")
    return reference.with_default_tag()


def _texts(query: Query, name: str) -> dict[str, str]:
    text = query.text(name)
    if not text:
        return {}
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise InvalidArgumentError(f"error reading {name}: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"error reading {name}: an object is expected")
    return {str(key): str(item) for key, item in value.items() if item is not None}


def _host_config(query: Query) -> HostConfig:
    fields: dict[str, Any] = {
        field: query.integer(name) for name, field in _NUMBERS.items() if query.text(name)
    }
    mode = query.text("networkmode")
    return HostConfig(
        network_mode=mode or "default",
        cpuset_cpus=query.text("cpusetcpus"),
        extra_hosts=[text for text in query.texts("extrahosts") if text],
        **fields,
    )


def _credentials(request: Request) -> dict[str, Credentials]:
    return parse_map(request.headers.get("x-registry-config", ""))


def _dockerfile(folder: Path, name: str) -> Dockerfile:
    name = name or "Dockerfile"
    try:
        path = context.inside(folder, name)
    except InvalidArgumentError:
        raise InvalidArgumentError(f"Cannot locate specified Dockerfile: {name}") from None
    data = path.read_bytes()
    if len(data) > _MAX_DOCKERFILE:
        raise InvalidArgumentError("the Dockerfile is too large")
    return parse(data.decode("utf-8", "replace"))
