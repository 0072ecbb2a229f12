"""Groups of the Engine API that Flotilla does not offer, answered as dockerd without swarm does."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flotilla_core.errors import NotFoundError, NotImplementedYetError, UnavailableError
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


@listing.post("/build/prune", operation_id="BuildPrune")
async def build_prune() -> Response:
    """Prune a build cache that is always empty."""
    return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})


@listing.post("/build", operation_id="ImageBuild")
@listing.post("/session", operation_id="Session")
@listing.post("/grpc")
async def build() -> Response:
    """Refuse to build."""
    raise NotImplementedYetError("building images is not offered yet: build elsewhere and load")
