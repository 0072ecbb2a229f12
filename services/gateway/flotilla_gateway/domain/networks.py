"""Networks of the fleet: dockerd's rules for making, joining, leaving and removing them."""

import ipaddress
from collections.abc import Sequence

from flotilla_bus.contracts import agent
from flotilla_core.clock import now
from flotilla_core.errors import (
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from flotilla_core.ids import new_id, short_id
from flotilla_engine.networking import EndpointSettings, Ipam
from flotilla_engine.records import EndpointRecord, NetworkRecord, NetworkState
from flotilla_engine.validate import check_endpoint
from flotilla_gateway.catalogue.catalogue import Catalogue
from flotilla_gateway.domain import ipam
from flotilla_gateway.domain.calls import NodeCalls
from flotilla_gateway.domain.default_networks import (
    DEFAULT_NAMES,
    default_endpoint,
    default_networks,
)
from flotilla_gateway.domain.events import EventSink, event
from flotilla_gateway.domain.learning import Learning
from flotilla_gateway.domain.locator import Located
from flotilla_gateway.domain.network_checks import (
    check_bridge_name,
    check_connect,
    check_depending,
    check_request,
)
from flotilla_gateway.domain.network_pools import planned
from flotilla_gateway.domain.pusher import NetworkPusher

_TELL_WITHIN_S = 2.0


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
        if asked.name in (*DEFAULT_NAMES, "default"):
            raise PermissionDeniedError(
                f"operation is not permitted on predefined {asked.name} network "
            )
        if config_from:
            check_depending(asked)
            asked = await self._configured(asked, config_from)
        check_request(asked)
        identifier = new_id()
        others = await self._catalogue.networks.all()
        bridges = [self.defaults["bridge"], *(network.record for network in others)]
        check_bridge_name(asked, identifier, bridges)

        routed = await self._routed()

        def plan(taken: Sequence[ipam.Subnet]) -> tuple[NetworkRecord, Ipam]:
            shown, pools = planned(asked, taken, routed, self._pools)
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
        check_connect(network, container)
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
        return asked.model_copy(
            update={
                "config_from": source.name,
                "ipam": source.ipam,
                "options": source.options,
                "enable_ipv6": source.enable_ipv6,
                "labels": source.labels,
            }
        )

    async def _routed(self) -> list[ipam.Subnet]:
        """Return the subnets that hosts have routes to: none of them is given by default."""
        return [
            ipaddress.ip_network(subnet)
            for node in await self._catalogue.nodes.all()
            for subnet in node.info.subnets
        ]

    async def _gone(self, network: NetworkRecord) -> None:
        self._pusher.touch([network.id])
        await self._tell(network, "destroy")

    async def _tell(self, network: NetworkRecord, action: str) -> None:
        attributes = {"name": network.name, "type": network.driver}
        await self._events.publish(event("network", action, network.id, attributes))


def _with_length(address: str, length: int) -> str:
    return f"{address}/{length}" if address else ""
