"""Images on their way: pull, push, import, load, save, search, distribution, commit."""

import contextlib
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flotilla_bus import Stream
from flotilla_bus.contracts import agent, registry
from flotilla_bus.contracts import images as store
from flotilla_core.errors import FlotillaError, InternalError, InvalidArgumentError
from flotilla_engine.bodies import decode
from flotilla_engine.config import ContainerConfig
from flotilla_engine.dockerfile import apply_changes
from flotilla_engine.filters import Filters
from flotilla_gateway.answers import JSON, json_response
from flotilla_gateway.bodies import read_body
from flotilla_gateway.deps import BusDep, EventsDep, FleetDep, ViewDep
from flotilla_gateway.domain.events import event
from flotilla_gateway.domain.image_config import completed
from flotilla_gateway.query import Query
from flotilla_gateway.registry_auth import credentials_of, parse
from flotilla_gateway.streams import BodyStream, send_body
from flotilla_oci import digests, platforms, references
from flotilla_oci.references import Reference
from flotilla_server.http import body_parts

router = APIRouter(tags=["Image"])

_TAR = "application/x-tar"
_REGISTRY_TIMEOUT_S = 120
_SEARCH_FILTERS = frozenset({"is-automated", "is-official", "stars"})
_MAX_SEARCH = 100


@router.post("/images/create", operation_id="ImageCreate")
async def create(request: Request, bus: BusDep) -> Response:
    """Pull an image, or import one."""
    query = Query(request)
    image, source = query.text("fromImage"), query.text("fromSrc")
    platform = query.text("platform")
    if platform:
        platform = str(platforms.parse(platform))
    if image:
        reference = _pulled(image.removesuffix(":"), query.text("tag"))
        asked = registry.PullRequest(
            reference=str(reference),
            all_tags=not reference.tag and not reference.digest,
            platform=platform,
            credentials=credentials_of(request),
        )
        _, stream = await bus.open(registry.PULL, asked, timeout_s=_REGISTRY_TIMEOUT_S)
        return BodyStream(stream, JSON)
    if source != "-":
        raise InvalidArgumentError("only images from a registry or from the request's body: -")
    wanted = store.ImportRequest(
        repository=query.text("repo"),
        tag=query.text("tag"),
        message=query.text("message"),
        changes=query.texts("changes"),
        platform=platform,
        source=source,
    )
    _, stream = await bus.open(store.IMPORT, wanted)
    await _send_body(request, stream)
    async with stream:
        told = b"".join([chunk async for chunk in _chunks(stream)])
    if failure := _failure(told):
        raise InvalidArgumentError(failure)
    return Response(told, media_type=JSON)


def _pulled(image: str, tag: str) -> Reference:
    reference = references.parse(image)
    if not tag:
        return reference
    return reference.with_digest(tag) if digests.is_digest(tag) else reference.with_tag(tag)


@router.post("/images/load", operation_id="ImageLoad")
async def load(request: Request, bus: BusDep) -> Response:
    """Take images from an archive."""
    query = Query(request)
    asked = store.LoadRequest(quiet=query.flag("quiet"), platform=query.text("platform"))
    _, stream = await bus.open(store.LOAD, asked)
    await _send_body(request, stream)
    return BodyStream(stream, JSON)


@router.get("/images/get", operation_id="ImageGetAll")
async def save_all(request: Request, bus: BusDep) -> Response:
    """Return an archive of several images."""
    return await _save(Query(request).texts("names"), request, bus)


@router.get("/images/search", operation_id="ImageSearch")
async def search(request: Request, bus: BusDep) -> Response:
    """Search a registry."""
    query = Query(request)
    filters = Filters.parse(query.text("filters"), _SEARCH_FILTERS)
    limit = query.integer("limit") if query.text("limit") else 0
    if limit < 0 or limit > _MAX_SEARCH:
        raise InvalidArgumentError(f"invalid limit {limit}: must be between 1 and {_MAX_SEARCH}")
    asked = registry.SearchRequest(
        term=query.text("term"),
        limit=limit or 25,
        filters={name: filters.get(name) for name in filters},
        credentials=credentials_of(request),
    )
    answer = await bus.call(registry.SEARCH, asked, timeout_s=_REGISTRY_TIMEOUT_S)
    return json_response(answer.results)


@router.get("/images/{name:path}/get", operation_id="ImageGet")
async def save(name: str, request: Request, bus: BusDep) -> Response:
    """Return an archive of an image."""
    return await _save([name], request, bus)


async def _save(names: list[str], request: Request, bus: BusDep) -> Response:
    platform = Query(request).text("platform")
    asked = store.SaveRequest(
        references=names, platform=str(platforms.parse(platform)) if platform else ""
    )
    _, stream = await bus.open(store.SAVE, asked)
    return BodyStream(stream, _TAR)


@router.post("/images/{name:path}/push", operation_id="ImagePush")
async def push(name: str, request: Request, bus: BusDep) -> Response:
    """Bring an image to its registry."""
    query = Query(request)
    reference = references.parse(name).without_suffix()
    if tag := query.text("tag"):
        reference = reference.with_tag(tag)
    header = request.headers.get("x-registry-auth")
    credentials = credentials_of(request)
    if header is None:
        credentials = parse((await read_body(request)).decode("utf-8", "replace"))
    asked = registry.PushRequest(reference=str(reference), credentials=credentials)
    _, stream = await bus.open(registry.PUSH, asked, timeout_s=_REGISTRY_TIMEOUT_S)
    return BodyStream(stream, JSON)


@router.get("/distribution/{name:path}/json", operation_id="DistributionInspect")
async def distribution(name: str, request: Request, bus: BusDep) -> Response:
    """Return what a registry says of an image."""
    reference = references.parse(name).with_default_tag()
    asked = registry.DistributionRequest(
        reference=str(reference), credentials=credentials_of(request)
    )
    answer = await bus.call(registry.DISTRIBUTION, asked, timeout_s=_REGISTRY_TIMEOUT_S)
    return json_response({"Descriptor": answer.descriptor, "Platforms": answer.platforms})


@router.post("/commit", operation_id="ImageCommit")
async def commit(
    request: Request, bus: BusDep, fleet: FleetDep, view: ViewDep, events: EventsDep
) -> Response:
    """Make an image of a container's changes."""
    query = Query(request)
    body = await read_body(request)
    located = await fleet.locator.container(query.text("container"), view)
    given = decode(ContainerConfig, body) if body.strip() not in (b"", b"null") else None
    order = agent.CommitRequest(container=located.id, pause=query.flag("pause", default=True))
    found, layer = await bus.open(agent.COMMIT, order, node=located.node_id, timeout_s=60)
    async with layer:
        own = found.record.config
        config = completed(apply_changes(given or own, query.texts("changes")), own)
        asked = store.CommitRequest(
            base=found.record.image_id,
            repository=query.text("repo"),
            tag=query.text("tag"),
            author=query.text("author"),
            comment=query.text("comment"),
            config=config,
            container=located.id,
            created_by=" ".join(own.cmd or []),
        )
        _, stream = await bus.open(store.COMMIT, asked)
        async with stream:
            while data := await layer.read():
                await stream.write(data)
            await stream.write_eof()
            line = b"".join([chunk async for chunk in _chunks(stream)])
    image = store.ImageAnswer.model_validate_json(line).image
    attributes = own.labels | {
        "comment": asked.comment,
        "image": found.record.image,
        "imageID": image.id,
        "imageRef": image.repo_tags[0] if asked.repository and image.repo_tags else "",
        "name": found.record.name,
    }
    await events.publish(event("container", "commit", located.id, attributes))
    return json_response({"Id": image.id}, 201)


def _failure(lines: bytes) -> str:
    """Return what went wrong, if the only line says so: nothing has been told before."""
    try:
        return str(json.loads(lines).get("error") or "")
    except ValueError:
        return ""


async def _chunks(stream: Stream) -> AsyncIterator[bytes]:
    while data := await stream.read():
        yield data


async def _send_body(request: Request, stream: Stream) -> None:
    """Hand the request's body on; how the other end likes it is told by its own output."""
    body = body_parts(request.scope, request.receive)
    try:
        await send_body(body, stream)
    except ConnectionResetError:
        await stream.reset(InternalError("the client has left"))
    except FlotillaError:
        with contextlib.suppress(ConnectionResetError):
            async for _ in body:
                pass
    except BaseException:
        await stream.aclose()
        raise
