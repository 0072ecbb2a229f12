"""Images that are here: list, inspect, history, tag, remove, prune."""

from typing import Any

from fastapi import APIRouter
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from flotilla_bus.contracts import images as store
from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.filters import IMAGE_LIST, IMAGE_PRUNE, Filters
from flotilla_engine.render import image_inspect, image_summary
from flotilla_gateway.answers import json_response
from flotilla_gateway.deps import BusDep, FleetDep, VersionDep
from flotilla_gateway.domain.fleet import Fleet
from flotilla_gateway.domain.layer_release import release_layers
from flotilla_gateway.query import Query
from flotilla_oci import platforms, references

router = APIRouter(prefix="/images", tags=["Image"])

_TIMEOUT_S = 300
_COUNTED_SINCE = (1, 51)


@router.get("/json", operation_id="ImageList")
async def list_images(
    request: Request, bus: BusDep, fleet: FleetDep, version: VersionDep
) -> Response:
    """Return images."""
    query = Query(request)
    filters = Filters.parse(query.text("filters"), IMAGE_LIST | {"node"})
    asked = store.ListRequest(
        all=query.flag("all"),
        filters={name: filters.get(name) for name in filters if name != "node"},
        shared_size=query.flag("shared-size"),
    )
    if name := query.text("filter"):
        asked.filters.setdefault("reference", []).append(name)
    answer = await bus.call(store.LIST, asked)
    uses = await _in_use(fleet) if version >= _COUNTED_SINCE else None
    return json_response(
        [
            image_summary(
                one.image,
                version,
                containers=-1
                if uses is None
                else sum(use.image_id == one.image.id for use in uses),
                shared_size=one.shared_size_bytes,
            )
            for one in answer.images
        ]
    )


@router.post("/prune", operation_id="ImagePrune")
async def prune(request: Request, bus: BusDep, fleet: FleetDep) -> Response:
    """Remove images that nothing uses."""
    filters = Filters.parse(Query(request).text("filters"), IMAGE_PRUNE)
    asked = store.PruneRequest(
        filters={name: filters.get(name) for name in filters}, in_use=await _in_use(fleet)
    )
    answer = await bus.call(store.PRUNE, asked, timeout_s=_TIMEOUT_S)
    deleted = [_deleted(line) for line in answer.deleted] or None
    response = json_response(
        {"ImagesDeleted": deleted, "SpaceReclaimed": answer.space_reclaimed_bytes}
    )
    if deleted:
        response.background = BackgroundTask(release_layers, bus, fleet.nodes)
    return response


@router.get("/{name:path}/json", operation_id="ImageInspect")
async def inspect(name: str, request: Request, bus: BusDep, version: VersionDep) -> Response:
    """Return everything about an image."""
    query = Query(request)
    platform = _platform(query)
    if platform and query.flag("manifests"):
        raise InvalidArgumentError(
            "conflicting options: manifests and platform options cannot both be set"
        )
    asked = store.ImageRequest(reference=name, platform=platform)
    answer = await bus.call(store.RESOLVE, asked)
    return json_response(image_inspect(answer.image, version))


@router.get("/{name:path}/history", operation_id="ImageHistory")
async def history(name: str, request: Request, bus: BusDep) -> Response:
    """Tell how an image came about."""
    asked = store.ImageRequest(reference=name, platform=_platform(Query(request)))
    answer = await bus.call(store.HISTORY, asked)
    return json_response(
        [
            {
                "Comment": entry.comment,
                "Created": entry.created,
                "CreatedBy": entry.created_by,
                "Id": entry.id,
                "Size": entry.size_bytes,
                "Tags": entry.tags or None,
            }
            for entry in answer.entries
        ]
    )


@router.post("/{name:path}/tag", operation_id="ImageTag")
async def tag(name: str, request: Request, bus: BusDep) -> Response:
    """Give an image one more name."""
    query = Query(request)
    target = references.parse(query.text("repo"))
    if target.digest:
        raise InvalidArgumentError("refusing to create a tag with a digest reference")
    if query.text("tag"):
        target = target.with_tag(query.text("tag"))
    await bus.call(store.TAG, store.TagRequest(source=name, target=str(target)))
    return Response(status_code=201)


@router.delete("/{name:path}", operation_id="ImageDelete")
async def remove(name: str, request: Request, bus: BusDep, fleet: FleetDep) -> Response:
    """Untag or delete an image."""
    query = Query(request)
    if not name.strip():
        raise InvalidArgumentError("image name cannot be blank")
    asked = store.RemoveRequest(
        reference=name,
        force=query.flag("force"),
        no_prune=query.flag("noprune"),
        in_use=await _in_use(fleet),
    )
    answer = await bus.call(store.REMOVE, asked, timeout_s=_TIMEOUT_S)
    response = json_response([_deleted(line) for line in answer.deleted])
    if any(line.deleted for line in answer.deleted):
        response.background = BackgroundTask(release_layers, bus, fleet.nodes)
    return response


async def _in_use(fleet: Fleet) -> list[store.ContainerUse]:
    return [
        store.ContainerUse(
            container=record.id, image_id=record.image_id, running=record.state.running
        )
        for record, _ in await fleet.containers.all()
    ]


def _deleted(line: store.Deleted) -> dict[str, Any]:
    return {"Untagged": line.untagged} if line.untagged else {"Deleted": line.deleted}


def _platform(query: Query) -> str:
    text = query.text("platform")
    return str(platforms.parse(text)) if text else ""
