"""Networks of the fleet: dockerd's rules for making, joining, leaving and removing them."""

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from flotilla_bus.contracts import agent
from flotilla_core.clock import now
from flotilla_core.errors import (
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from flotilla_core.ids import new_id, short_id
from flotilla_engine.networking import EndpointSettings, Ipam, IpamConfig
from flotilla_engine.records import EndpointRecord, NetworkRecord, NetworkState
from flotilla_engine.validate import check_endpoint
from flotilla_gateway.catalogue.catalogue import Catalogue
from flotilla_gateway.domain import ipam
from flotilla_gateway.domain.calls import NodeCalls
from flotilla_gateway.domain.events import EventSink, event
from flotilla_gateway.domain.learning import Learning
from flotilla_gateway.domain.locator import Located
from flotilla_gateway.domain.pusher import NetworkPusher

DEFAULT_NAMES = ("bridge", "host", "none")
_DRIVERS = {"bridge": "bridge", "host": "host", "none": "null"}
_USER_DRIVERS = ("bridge", "macvlan", "overlay")
_TELL_WITHIN_S = 2.0
_BRIDGE_NAME = "com.docker.network.bridge.name"
_MTU = "com.docker.network.driver.mtu"
_BRIDGE_OPTIONS = {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
    "com.docker.network.bridge.name": "docker0",
    "com.docker.network.driver.mtu": "1500",
}
_BRIDGE_POOL = IpamConfig(subnet="172.17.0.0/16", gateway="172.17.0.1")


class Networks:
    """What the gateway does with networks."""

    def __init__(
        self,
        calls: NodeCalls,
        catalogue: Catalogue,
        learning: Learning,
        pusher: NetworkPusher,
        events: EventSink,
        *,
        fleet_id: str,
        pools: Sequence[ipam.DefaultPool] = ipam.DEFAULT_POOLS,
    ) -> None:
        self._calls = calls
        self._catalogue = catalogue
        self._learning = learning
        self._pusher = pusher
        self._events = events
        self._pools = [*pools, ipam.unique_local_pool(fleet_id)]
        self.defaults = default_networks(fleet_id)

    async def create(self, asked: NetworkRecord, *, config_from: str = "") -> NetworkRecord:
        """Make a network.

        Raises:
            FlotillaError: In dockerd's words, if it cannot be.
        """
        if not asked.name:
            raise InvalidArgumentError("invalid name: ")
        if asked.name in (*DEFAULT_NAMES, "default"):
            raise PermissionDeniedError(
                f"operation is not permitted on predefined {asked.name} network "
            )
        if config_from:
            asked = await self._configured(asked, config_from)
        _check_request(asked)
        identifier = new_id()
        others = await self._catalogue.networks.all()
        _check_bridge_name(asked, identifier, [network.record for network in others])

        def plan(taken: Sequence[ipam.Subnet]) -> tuple[NetworkRecord, Ipam]:
            shown, pools = self._planned(asked, taken)
            made = asked.model_copy(update={"id": identifier, "created": now(), "ipam": shown})
            return made, pools

        record = await self._catalogue.networks.create(
            asked.name, plan, configured=bool(asked.ipam.config)
        )
        await self._tell(record, "create")
        return record

    async def find(self, reference: str) -> NetworkRecord:
        """Return the network of that id, name or unique id prefix, default ones included."""
        for network in self.defaults.values():
            if reference in (network.id, network.name):
                return network
        try:
            return (await self._catalogue.networks.find(reference)).record
        except NotFoundError:
            starting = [
                network
                for network in self.defaults.values()
                if reference and network.id.startswith(reference)
            ]
            if len(starting) == 1:
                return starting[0]
            raise

    async def check(self, network: NetworkRecord, asked: EndpointSettings) -> None:
        """Check what is asked of a place in a network. Raises: InvalidArgumentError."""
        configured = False
        if network.name not in self.defaults:
            configured = (await self._catalogue.networks.find(network.id)).configured
        check_endpoint(network, asked, configured_subnets=configured)

    async def all(self) -> list[NetworkRecord]:
        """Return all networks, default ones first."""
        known = await self._catalogue.networks.all()
        return [*self.defaults.values(), *(network.record for network in known)]

    async def members(self, network: NetworkRecord, node_id: str | None) -> list[EndpointRecord]:
        """Return the endpoints of running containers, as inspect shows them."""
        if network.name not in self.defaults:
            endpoints = await self._catalogue.networks.endpoints(network.id)
            return [
                endpoint
                for endpoint in endpoints
                if endpoint.running and node_id in (None, endpoint.node_id)
            ]
        members = []
        for entry in await self._catalogue.containers.all(node_id):
            record = entry.record
            if record is not None and record.state.running and network.name in record.networks:
                settings = record.networks[network.name]
                members.append(
                    EndpointRecord(
                        id=settings.endpoint_id,
                        network_id=network.id,
                        network_name=network.name,
                        container_id=entry.id,
                        container_name=entry.name,
                        node_id=entry.node_id,
                        mac_address=settings.mac_address,
                        ipv4_address=_with_length(settings.ip_address, settings.ip_prefix_len),
                        ipv6_address=_with_length(
                            settings.global_ipv6_address, settings.global_ipv6_prefix_len
                        ),
                        running=True,
                    )
                )
        return members

    async def used(self) -> set[str]:
        """Return the ids of networks that containers are in, running or not."""
        return await self._catalogue.networks.used()

    async def remove(self, reference: str) -> None:
        """Remove a network that no running container is in."""
        network = await self.find(reference)
        if network.name in self.defaults:
            raise PermissionDeniedError(
                f"{network.name} is a pre-defined network and cannot be removed"
            )
        if network.config_only:
            for other in await self._catalogue.networks.all():
                if other.record.config_from == network.name:
                    raise PermissionDeniedError(
                        f'error while removing network: configuration network "{network.name}" '
                        "is in use"
                    )
        await self._catalogue.networks.remove(network.id)
        await self._gone(network)

    async def prune(self, wanted: Sequence[NetworkRecord]) -> list[str]:
        """Remove those of these networks that no container is in; returns their names."""
        removed = []
        for network in wanted:
            if network.name in self.defaults or network.config_only:
                continue
            try:
                if await self._catalogue.networks.remove(network.id, only_if_unused=True):
                    await self._gone(network)
                    removed.append(network.name)
            except NotFoundError:
                continue
        return removed

    async def connect(self, reference: str, container: Located, asked: EndpointSettings) -> None:
        """Put a container into a network, running or not."""
        network = await self.find(reference)
        record = container.record
        _check_connect(network, container)
        try:
            await self.check(network, asked)
        except InvalidArgumentError as error:  # create says more than connect
            where = f"invalid config for network {network.name}: "
            raise InvalidArgumentError(error.message.removeprefix(where)) from error
        hostname = record.config.hostname
        asked.dns_names = [] if hostname in ("", short_id(record.id)) else [hostname]
        running = record.state.running
        if running and network.name in record.networks:
            raise PermissionDeniedError(
                f"endpoint with name {container.name} already exists in network {network.name}"
            )
        if network.name in self.defaults:
            endpoint, state = default_endpoint(network, container, asked), None
        else:
            networks = self._catalogue.networks
            await networks.connect(network.id, container.id, asked)
            if running:
                try:
                    await networks.lease(container.id, [network.id])
                except Exception:
                    await networks.disconnect(network.id, container.id)
                    raise
            state = await self.state(network.id)
            endpoint = next(
                one
                for one in await networks.of_container(container.id)
                if one.network_id == network.id
            )
        if state is not None and running:
            await self.tell_others([state], container.node_id)
        try:
            answer = await self._calls.call(
                agent.CONNECT,
                agent.ConnectRequest(container=container.id, endpoint=endpoint, network=state),
                container.node_id,
            )
        except Exception:
            if network.name not in self.defaults:
                await self._catalogue.networks.disconnect(network.id, container.id)
                self._pusher.touch([network.id])
            raise
        await self._learning.learned(container.node_id, answer.record)
        self._pusher.touch([network.id])

    async def disconnect(self, reference: str, container: Located, *, force: bool) -> None:
        """Take a container out of a network, running or not."""
        network = await self.find(reference)
        names = container.record.networks
        if container.record.host_config.network_mode == "host" and network.name == "host":
            raise InvalidArgumentError(
                "container cannot be disconnected from host network or connected to host network"
            )
        known = network.name in names
        if network.name not in self.defaults:
            left = await self._catalogue.networks.disconnect(network.id, container.id)
            known = known or left
        if not known:
            raise InternalError(
                f"container {container.id} is not connected to network {network.name}"
            )
        answer = await self._calls.call(
            agent.DISCONNECT,
            agent.DisconnectRequest(
                container=container.id,
                network_id=network.id,
                network_name=network.name,
                force=force,
            ),
            container.node_id,
        )
        await self._learning.learned(container.node_id, answer.record)
        self._pusher.touch([network.id])

    async def tell_others(self, states: Sequence[NetworkState], node_id: str) -> None:
        """Let the other nodes know an endpoint before it is there: its first packets arrive."""
        await self._pusher.tell(states, but=node_id, within_s=_TELL_WITHIN_S)

    async def tell_again(self, states: Sequence[NetworkState]) -> None:
        """Correct what nodes were told of an endpoint that did not come to be."""
        networks = [state.network.id for state in states]
        await self._catalogue.networks.changed(networks)
        self._pusher.touch(networks)

    async def state(self, network_id: str) -> NetworkState:
        """Return what nodes should know of a network. Raises: NotFoundError."""
        state = await self._catalogue.networks.state(network_id)
        if state is None:
            raise NotFoundError(f"network {network_id} not found")
        return state

    async def _configured(self, asked: NetworkRecord, name: str) -> NetworkRecord:
        known = [
            network.record
            for network in await self._catalogue.networks.all()
            if network.record.config_only and name in (network.record.name, network.record.id)
        ]
        if not known:
            raise NotFoundError(f'configuration network "{name}" does not exist')
        source = known[0]
        if asked.ipam.config or asked.options or asked.internal:
            raise PermissionDeniedError(
                "user-specified configurations are not supported if the network depends on a "
                "configuration network"
            )
        return asked.model_copy(
            update={
                "config_from": source.name,
                "ipam": source.ipam,
                "options": source.options,
                "enable_ipv6": source.enable_ipv6,
                "internal": source.internal,
                "labels": source.labels | asked.labels,
            }
        )

    def _planned(self, asked: NetworkRecord, taken: Sequence[ipam.Subnet]) -> tuple[Ipam, Ipam]:
        """Return the pools as shown and as leased from."""
        if asked.config_only or asked.driver == "host":
            return asked.ipam, Ipam()
        taken = [*taken, ipaddress.ip_network(_BRIDGE_POOL.subnet)]
        shown, pools = [], []
        versions = set()
        for config in asked.ipam.config:
            subnet = ipaddress.ip_network(config.subnet)
            shown.append(config)
            if subnet.version == 6 and not asked.enable_ipv6:
                continue
            ipam.refuse_overlap(subnet, taken)
            versions.add(subnet.version)
            pools.append(_with_gateway(config))
        wanted = [4] * asked.enable_ipv4 + [6] * asked.enable_ipv6
        for version in [version for version in wanted if version not in versions]:
            subnet = ipam.default_subnet(self._pools, taken, version)
            config = _with_gateway(IpamConfig(subnet=str(subnet)))
            shown.append(config)
            pools.append(config)
        return (
            asked.ipam.model_copy(update={"config": shown}),
            asked.ipam.model_copy(update={"config": pools}),
        )

    async def _gone(self, network: NetworkRecord) -> None:
        self._pusher.touch([network.id])
        await self._tell(network, "destroy")

    async def _tell(self, network: NetworkRecord, action: str) -> None:
        attributes = {"name": network.name, "type": network.driver}
        await self._events.publish(event("network", action, network.id, attributes))


def default_networks(fleet_id: str) -> dict[str, NetworkRecord]:
    """Return bridge, host and none: the same ids in the whole fleet, and for ever."""
    networks = {}
    for name in DEFAULT_NAMES:
        networks[name] = NetworkRecord(
            id=hashlib.sha256(f"{fleet_id} {name}".encode()).hexdigest(),
            name=name,
            created=datetime(2024, 1, 1, tzinfo=UTC),
            driver=_DRIVERS[name],
            options=_BRIDGE_OPTIONS if name == "bridge" else {},
            ipam=Ipam(config=[_BRIDGE_POOL] if name == "bridge" else []),
        )
    return networks


def default_endpoint(
    network: NetworkRecord, container: Located, asked: EndpointSettings
) -> EndpointRecord:
    """Return an endpoint in a default network; its addresses are its node's business."""
    return EndpointRecord(
        id=new_id(),
        network_id=network.id,
        network_name=network.name,
        container_id=container.id,
        container_name=container.name,
        node_id=container.node_id,
        settings=asked,
    )


def _with_length(address: str, length: int) -> str:
    return f"{address}/{length}" if address else ""


def _with_gateway(config: IpamConfig) -> IpamConfig:
    gateway = ipam.pool_of(config).gateway
    return config.model_copy(update={"gateway": str(gateway) if gateway else ""})


def _check_request(asked: NetworkRecord) -> None:
    if asked.driver in ("host", "null"):
        if not asked.config_only:
            raise PermissionDeniedError(f'only one instance of "{asked.driver}" network is allowed')
    elif asked.driver not in _USER_DRIVERS:
        raise NotFoundError(f'plugin "{asked.driver}" not found')
    if asked.ingress:
        raise PermissionDeniedError("Ingress network can only be global scope network")
    if asked.scope == "swarm":
        raise PermissionDeniedError("cannot create a swarm scoped network when swarm is not active")
    if asked.ipam.driver not in ("default", "null", ""):
        raise NotFoundError(f'plugin "{asked.ipam.driver}" not found')
    ipam.validate(asked.ipam, enable_ipv6=asked.enable_ipv6)
    mtu = asked.options.get(_MTU, "")
    if mtu and not re.fullmatch(r"[+-]?\d+", mtu):
        raise InvalidArgumentError(
            f'failed to parse {_MTU} value: {mtu} (strconv.Atoi: parsing "{mtu}": invalid syntax)'
        )
    versions = [
        ipaddress.ip_network(config.subnet).version for config in asked.ipam.config if config.subnet
    ]
    if versions.count(4) > 1 or versions.count(6) > 1:
        raise PermissionDeniedError(f"{asked.driver} driver doesn't support multiple subnets")


def _check_bridge_name(
    asked: NetworkRecord, identifier: str, others: Sequence[NetworkRecord]
) -> None:
    name = asked.options.get(_BRIDGE_NAME)
    for other in others:
        if name and other.options.get(_BRIDGE_NAME) == name:
            raise PermissionDeniedError(
                f"cannot create network {identifier} ({name}): conflicts with network "
                f"{other.id} ({name}): networks have same bridge name"
            )


def _check_connect(network: NetworkRecord, container: Located) -> None:
    mode = container.record.host_config.network_mode
    if mode.startswith("container:") or (mode == "host" and network.name != "host"):
        raise InvalidArgumentError(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
    if network.name == "host":
        raise InvalidArgumentError(
            "container cannot be disconnected from host network or connected to host network"
        )
    if network.config_only:
        raise PermissionDeniedError(
            f"cannot connect container to a configuration network: {network.name}"
        )
    names = set(container.record.networks) - {network.name}
    if (network.name == "none" and names) or "none" in names:
        raise InvalidArgumentError(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )
