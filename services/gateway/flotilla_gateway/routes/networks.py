"""Networks: create, list, inspect, connect, disconnect, remove, prune."""

from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from flotilla_core.errors import InternalError, InvalidArgumentError, NotFoundError
from flotilla_engine.filters import NETWORK_LIST, NETWORK_PRUNE, Filters
from flotilla_engine.model import EngineModel
from flotilla_engine.networking import EndpointSettings, Ipam
from flotilla_engine.records import NetworkRecord
from flotilla_engine.render import network_fields
from flotilla_engine.timestamps import unix_ns
from flotilla_gateway.answers import empty_response, json_response
from flotilla_gateway.bodies import optional_json, required_json
from flotilla_gateway.deps import EventsDep, FleetDep, VersionDep, ViewDep
from flotilla_gateway.domain.events import pruned
from flotilla_gateway.domain.network_checks import BOOLEANS
from flotilla_gateway.query import Query
from flotilla_gateway.routes.containers import until_ns

router = APIRouter(prefix="/networks", tags=["Network"])


class ConfigReference(EngineModel):
    """``ConfigReference``: a network that another takes its configuration from."""

    network: str = ""


class NetworkCreate(EngineModel):
    """Body of ``NetworkCreate``."""

    name: str = ""
    driver: str = ""
    scope: str = ""
    enable_ipv4: bool = Field(default=True, alias="EnableIPv4")
    enable_ipv6: bool = Field(default=False, alias="EnableIPv6")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference = Field(default_factory=ConfigReference)
    ipam: Ipam = Field(default_factory=Ipam, alias="IPAM")
    options: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)


class NetworkConnect(EngineModel):
    """Body of ``NetworkConnect``."""

    container: str = ""
    endpoint_config: EndpointSettings = Field(default_factory=EndpointSettings)


class NetworkDisconnect(EngineModel):
    """Body of ``NetworkDisconnect``."""

    container: str = ""
    force: bool = False


@router.post("/create", operation_id="NetworkCreate")
async def create(request: Request, fleet: FleetDep) -> Response:
    """Make a network."""
    body = await optional_json(request, NetworkCreate)
    asked = NetworkRecord(
        id="",
        created=datetime.now(UTC),
        **body.model_dump(exclude={"config_from", "ipam", "driver", "scope"}, by_alias=False),
        driver="null" if body.config_only else body.driver or "bridge",
        scope=body.scope or "local",
        ipam=body.ipam,
    )
    network = await fleet.networks.create(asked, config_from=body.config_from.network)
    return json_response({"Id": network.id, "Warning": ""}, status=201)


@router.get("", operation_id="NetworkList")
@router.get("/", include_in_schema=False)
async def list_networks(
    request: Request, fleet: FleetDep, view: ViewDep, version: VersionDep
) -> Response:
    """Return networks."""
    filters = Filters.parse(Query(request).text("filters"), NETWORK_LIST)
    dangling = _dangling(filters)
    for value in filters.get("type"):
        if value not in ("builtin", "custom"):
            raise InternalError(f"invalid filter: 'type'='{value}'")
    used = await fleet.networks.used() if dangling is not None else set()
    found = [
        network
        for network in await fleet.networks.all()
        if _matches(network, filters, is_default=network.name in fleet.networks.defaults)
        and (
            dangling is None
            or dangling == (network.id not in used and network.name not in fleet.networks.defaults)
        )
    ]
    detailed = version < (1, 28)
    documents = []
    for network in found:
        members = await fleet.networks.members(network, view.node_id) if detailed else []
        documents.append(network_fields(network, members, version))
    return json_response(documents)


def _dangling(filters: Filters) -> bool | None:
    if "dangling" not in filters:
        return None
    try:
        return filters.flag("dangling", default=False)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'
        ) from error


def _matches(network: NetworkRecord, filters: Filters, *, is_default: bool) -> bool:
    kind = "builtin" if is_default else "custom"
    return (
        filters.exact("driver", network.driver)
        and filters.match("name", network.name)
        and filters.match("id", network.id)
        and filters.labels(network.labels)
        and filters.exact("scope", network.scope)
        and filters.exact("type", kind)
    )


@router.get("/{reference:path}", operation_id="NetworkInspect")
async def inspect(
    reference: str, request: Request, fleet: FleetDep, view: ViewDep, version: VersionDep
) -> Response:
    """Return a network with the running containers that are in it."""
    query = Query(request)
    verbose = query.text("verbose")
    if verbose and verbose not in BOOLEANS:
        raise InvalidArgumentError(
            f'invalid value for verbose: {verbose}: strconv.ParseBool: parsing "{verbose}": '
            "invalid syntax"
        )
    network = await fleet.networks.find(reference)
    if query.text("scope") not in ("", network.scope):
        raise NotFoundError(f"network {reference} not found")
    members = await fleet.networks.members(network, view.node_id)
    return json_response(network_fields(network, members, version))


@router.post("/{reference}/connect", operation_id="NetworkConnect")
async def connect(reference: str, request: Request, fleet: FleetDep, view: ViewDep) -> Response:
    """Put a container into a network."""
    body = await optional_json(request, NetworkConnect)
    if not body.container:
        raise InvalidArgumentError('invalid name or ID supplied: ""')
    container = await fleet.locator.container(body.container, view)
    await fleet.networks.connect(reference, container, body.endpoint_config)
    return empty_response(200)


@router.post("/{reference}/disconnect", operation_id="NetworkDisconnect")
async def disconnect(reference: str, request: Request, fleet: FleetDep, view: ViewDep) -> Response:
    """Take a container out of a network."""
    body = await required_json(request, NetworkDisconnect)
    if not body.container:
        raise InvalidArgumentError('invalid name or ID supplied: ""')
    try:
        container = await fleet.locator.container(body.container, view)
    except NotFoundError:
        if not body.force:
            raise
        await fleet.networks.find(reference)
        raise NotFoundError(f"endpoint {body.container} not found") from None
    await fleet.networks.disconnect(reference, container, force=body.force)
    return empty_response(200)


@router.post("/prune", operation_id="NetworkPrune")
async def prune(request: Request, fleet: FleetDep, events: EventsDep) -> Response:
    """Remove networks that no container is in."""
    filters = Filters.parse(Query(request).text("filters"), NETWORK_PRUNE)
    before_ns = until_ns(filters)
    wanted = [
        network
        for network in await fleet.networks.all()
        if filters.prune_labels(network.labels)
        and (before_ns is None or unix_ns(network.created) < before_ns)
    ]
    removed = await fleet.networks.prune(wanted)
    await events.publish(pruned("network", 0))
    return json_response({"NetworksDeleted": removed or None})


@router.delete("/{reference:path}", operation_id="NetworkDelete")
async def remove(reference: str, fleet: FleetDep) -> Response:
    """Remove a network."""
    await fleet.networks.remove(reference)
    return empty_response()
