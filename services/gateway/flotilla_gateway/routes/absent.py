"""Groups of the Engine API that Flotilla does not offer, answered as dockerd without swarm does."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flotilla_core.errors import (
    InvalidArgumentError,
    NotFoundError,
    NotImplementedYetError,
    UnavailableError,
)
from flotilla_gateway.answers import json_response

router = APIRouter()

_NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)
_ALL = ["GET", "HEAD", "POST", "PUT", "DELETE"]


@router.post("/swarm/init")
@router.post("/swarm/join")
async def no_swarm() -> Response:
    """Refuse to become a swarm: the fleet is the cluster."""
    raise NotImplementedYetError("swarm mode is not offered: the nodes of the fleet are joined")


@router.post("/swarm/leave")
async def not_in_a_swarm() -> Response:
    """Answer as a node outside of any swarm."""
    raise UnavailableError("This node is not part of a swarm")


@router.api_route("/swarm", methods=["GET"])
@router.api_route("/swarm/{rest:path}", methods=_ALL)
@router.api_route("/{group}", methods=["GET"])
@router.api_route("/{group}/{rest:path}", methods=_ALL)
async def absent(request: Request) -> Response:
    """Answer for what is not there."""
    group = request.url.path.split("/")[1]
    match group:
        case "swarm" | "services" | "nodes" | "tasks" | "secrets" | "configs":
            raise UnavailableError(_NO_MANAGER)
        case "plugins" | "session" | "grpc":
            raise NotImplementedYetError(f"{group} are not offered by Flotilla")
        case _:
            raise NotFoundError("page not found")


listing = APIRouter()


@listing.get("/plugins", operation_id="PluginList")
async def plugins() -> Response:
    """List no plugins."""
    return json_response([])


@listing.api_route("/plugins/{name:path}/json", methods=["GET"], operation_id="PluginInspect")
@listing.api_route("/plugins/{name:path}/{verb}", methods=["POST"])
@listing.api_route("/plugins/{name:path}", methods=["DELETE"], operation_id="PluginDelete")
async def plugin(name: str, request: Request) -> Response:
    """Answer that there is no such plugin; installing one is not offered."""
    if request.url.path in ("/plugins/pull", "/plugins/create"):
        raise NotImplementedYetError("plugins are not offered by Flotilla")
    raise NotFoundError(f'plugin "{name}" not found')


@listing.api_route("/containers/{name}/checkpoints", methods=["GET", "POST"])
@listing.api_route("/containers/{name}/checkpoints/{checkpoint}", methods=["DELETE"])
async def checkpoints(name: str) -> Response:
    """Refuse an experimental feature, as dockerd does unless told otherwise."""
    raise NotImplementedYetError(
        "This experimental feature is disabled by default. Start the Docker daemon in experimental "
        "mode in order to enable it."
    )


@listing.get("/containers/{name}/attach/ws")
async def no_websocket(name: str) -> Response:
    """Refuse a plain request for a web socket."""
    raise InvalidArgumentError("not websocket protocol")


@listing.post("/build/prune", operation_id="BuildPrune")
async def build_prune() -> Response:
    """Prune a build cache that is always empty."""
    return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})


@listing.post("/session", operation_id="Session")
@listing.post("/grpc")
async def no_session() -> Response:
    """Refuse BuildKit, whose builds need a session."""
    raise NotImplementedYetError(
        "BuildKit is not offered by Flotilla: build with DOCKER_BUILDKIT=0"
    )
