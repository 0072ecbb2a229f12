"""The node's networks: implements ``ports.Networks`` on bridges, nftables and embedded DNS."""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from flotilla_core.errors import InternalError, NotFoundError
from flotilla_engine.records import EndpointRecord, NetworkState, TunnelEnd
from flotilla_runtime_agent.network import namespaces
from flotilla_runtime_agent.network.attachments import attachment, describe
from flotilla_runtime_agent.network.bridges import BridgeSpec, Plug, host_interface_name
from flotilla_runtime_agent.network.daemon.client import NetworkDaemon
from flotilla_runtime_agent.network.dns.sandbox import bound_sockets, network_names, resolver
from flotilla_runtime_agent.network.host import Host, KernelThread, port_addresses
from flotilla_runtime_agent.network.pools import Leases
from flotilla_runtime_agent.network.ports import bind_port
from flotilla_runtime_agent.network.publishing import Publisher, held_ports
from flotilla_runtime_agent.network.sandboxes import SandboxRecord, SandboxStore, Wired
from flotilla_runtime_agent.network.specs import (
    DEFAULT_NETWORK,
    NO_NETWORK,
    bridge_name,
    bridge_spec,
    default_host_ip,
    gateway_endpoint,
    gateways_of,
    is_in_user_network,
    wired_endpoint,
)
from flotilla_runtime_agent.network.states import StateStore
from flotilla_runtime_agent.network.tunnel import TunnelSettings
from flotilla_runtime_agent.network.watching import ended
from flotilla_runtime_agent.ports import Attachment, Joining, Sandbox

_LOG = logging.getLogger(__name__)

_REPAIR_EVERY_S = 5
_HAS_IPV6 = Path("/proc/net/if_inet6")


class NodeNetworks:
    """Wires containers of one node.

    Args:
        folder: Where addresses, states and sandboxes are kept.
        run_folder: Where namespaces are bound and the network daemon listens; gone after a
            reboot of the host.
        node_id: This node, as the states name it.
        address: Where other nodes reach this host; found by the default route if empty.
        bridge: Name of the default bridge.
        table: Name of the nftables table.
        tunnel: How encrypted networks are to be.
    """

    def __init__(
        self,
        folder: Path,
        run_folder: Path,
        *,
        node_id: str,
        address: str = "",
        bridge: str = "flt0",
        table: str = "flotilla",
        tunnel: TunnelSettings | None = None,
    ) -> None:
        """Touch nothing yet; ``start`` does."""
        self._folder = folder
        self._namespaces = run_folder / "netns"
        self._node_id = node_id
        self._address = address
        self._bridge = bridge
        self._table = table
        self._run_folder = run_folder
        self._tunnel = tunnel or TunnelSettings()
        self._thread = KernelThread()
        self._sandboxes: dict[str, SandboxRecord] = {}
        self._daemon = NetworkDaemon(
            run_folder, resolver_sockets=bound_sockets, port_socket=bind_port
        )
        self._repairing: asyncio.Task[None] | None = None

    async def start(self, running: Sequence[tuple[Joining, Sandbox]]) -> None:
        """Make the host's part right for the containers that run, without interrupting them."""
        self._store = SandboxStore(self._folder / "sandboxes")
        self._states = StateStore(self._folder / "states")
        self._host = await self._thread.run(
            lambda: Host(
                self._folder,
                self._run_folder,
                node_id=self._node_id,
                address=self._address,
                table=self._table,
                tunnel=self._tunnel,
            )
        )
        subnet = await self._thread.run(self._host.default_subnet)
        gateway = ipaddress.IPv4Interface(f"{subnet[1]}/{subnet.prefixlen}")
        self._default = BridgeSpec(self._bridge, (gateway,), mtu=self._host.uplink_mtu)
        self._leases = Leases(subnet, [gateway.ip])
        ipv6 = await self._thread.run(_has_ipv6)
        self._publisher = Publisher(self._thread, self._host, self._daemon, ipv6=ipv6)
        alive = {joining.container_id for joining, _ in running}
        for record in tuple(self._store.all()):
            if record.container_id in alive and namespaces.is_namespace(Path(record.key)):
                self._sandboxes[record.container_id] = record
            else:
                await self._thread.run(partial(namespaces.remove, Path(record.key)))
                self._store.remove(record.container_id)
        await self._thread.run(self._sweep_namespaces)
        await self._restore()
        self._repairing = asyncio.create_task(self._repair_forever())

    async def close(self) -> None:
        """Stop; the wiring in the kernel, and what the network daemon serves, stays."""
        if self._repairing is not None:
            self._repairing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._repairing
            self._repairing = None
            self._publisher.close()
            await self._thread.run(self._daemon.close)
            await self._thread.run(self._host.close)
        await self._thread.close()

    async def create_sandbox(self, container_id: str) -> Sandbox:
        """Make the container's network namespace."""
        record = self._sandboxes.get(container_id)
        if record is None:
            sandbox_id = secrets.token_hex(32)
            record = SandboxRecord(
                container_id=container_id,
                sandbox_id=sandbox_id,
                key=str(self._namespaces / sandbox_id[:12]),
            )
            self._sandboxes[container_id] = record
        await self._thread.run(lambda: namespaces.create(Path(record.key)))
        return Sandbox(record.sandbox_id, Path(record.key))

    async def attach(self, joining: Joining, sandbox: Sandbox) -> Attachment:
        """Wire the sandbox into all its networks and publish its ports."""
        record = self._record(joining.container_id)
        describe(record, joining)
        try:
            for endpoint in _ordered(joining):
                await self._wire(record, joining, endpoint)
            self._publisher.take(record, joining, self._port_host_ip(record))
            await self._thread.run(lambda: self._host.route_by(sandbox.key, record.wired))
            await self._publisher.publish(record)
            await self._serve_names(record)
        except BaseException:
            await self._undo(record)
            raise
        self._store.write(record)
        return self._attachment(record, joining)

    async def connect(
        self, joining: Joining, sandbox: Sandbox, endpoint: EndpointRecord
    ) -> Attachment:
        """Add one network to a running container."""
        record = self._record(joining.container_id)
        if all(one.endpoint.network_id != endpoint.network_id for one in record.wired):
            await self._wire(record, joining, endpoint)
            await self._rearrange(record, joining, sandbox)
        return self._attachment(record, joining)

    async def disconnect(self, joining: Joining, sandbox: Sandbox, network_id: str) -> Attachment:
        """Take one network from a running container."""
        record = self._record(joining.container_id)
        for wired in [one for one in record.wired if one.endpoint.network_id == network_id]:
            before = port_addresses(record)
            record.wired.remove(wired)
            await self._thread.run(partial(self._host.unwire, sandbox.key, wired))
            if wired.endpoint.network_name == DEFAULT_NETWORK:
                self._leases.free(record.container_id)
            await self._publisher.withdraw(record, before)
            await self._rearrange(record, joining, sandbox)
        return self._attachment(record, joining)

    async def detach(self, container_id: str) -> None:
        """Free all that a stopped container had, and drop its sandbox."""
        record = self._sandboxes.pop(container_id, None)
        if record is None:
            return
        await self._undo(record)
        await self._thread.run(lambda: namespaces.remove(Path(record.key)))
        self._store.remove(container_id)

    async def apply(self, state: NetworkState) -> None:
        """Make this node's part of a user network as the state says; older ones are ignored."""
        if not self._states.take(state):
            return
        network = state.network
        if all(node.id != self._node_id for node in state.nodes) and not self._uses(network.id):
            await self.remove_network(network.id)
            return
        names = network_names(state)

        def program() -> None:
            self._daemon.name(names)
            self._program(network.id)

        await self._thread.run(program)

    async def remove_network(self, network_id: str) -> None:
        """Remove this node's part of a network; safe to repeat."""
        if self._uses(network_id):
            _LOG.warning("network %s is still used by containers here; it stays", network_id)
            return
        state = self._states.remove(network_id)
        await self._thread.run(lambda: self._daemon.forget(network_id))
        if state is not None:
            name = bridge_name(state.network)
            await self._thread.run(lambda: self._host.remove_network(network_id, name))

    async def network_states(self) -> list[NetworkState]:
        """Return what is known of each user network, as applied last."""
        return self._states.all()

    def driver_of(self, network_id: str) -> str:
        """Return the driver of a network; `bridge` for those that every node has by itself."""
        state = self._states.get(network_id)
        return state.network.driver if state else "bridge"

    async def repair(self) -> bool:
        """Make again what others took away: firewall, tunnels, the network daemon.

        Answers whether firewall or tunnels had to be made.
        """
        await self._thread.run(self._daemon.check)
        broken = await self._thread.run(self._host.tunnel.is_broken)
        if broken:
            _LOG.warning("the interface into the tunnels was removed by others; making it again")
            await self._program_sealed()
        return await self._thread.run(self._host.repair) or broken

    def address(self) -> str:
        """Return where other nodes reach this host; empty if it has no way to them."""
        address = self._host.address
        return "" if address.is_loopback else str(address)

    def encryption(self) -> tuple[TunnelEnd | None, str]:
        """Return this node's end of the tunnels, and what encrypts or why nothing does."""
        return self._host.tunnel.end, self._host.tunnel.description

    # Wiring

    async def _wire(
        self, record: SandboxRecord, joining: Joining, endpoint: EndpointRecord
    ) -> None:
        if endpoint.network_name == DEFAULT_NETWORK:
            wired, spec = self._wired_default(record, endpoint)
        else:
            wired, spec = self._wired_user(endpoint)
        used = {one.interface for one in record.wired}
        wired.interface = next(
            name for name in (f"eth{number}" for number in range(256)) if name not in used
        )
        mtu = spec.mtu if spec else 0
        if spec is not None:
            wired.bridge = spec.name
            wired.host_interface = host_interface_name(record.sandbox_id, endpoint.network_id)
        plug = Plug(
            interface=wired.interface,
            host_interface=wired.host_interface,
            mac_address=wired.mac_address,
            addresses=tuple(ipaddress.ip_interface(text) for text in wired.addresses),
            mtu=mtu,
            isolated=spec is not None and not spec.inter_container,
            sysctls=_interface_sysctls(endpoint, wired.interface),
        )
        await self._thread.run(lambda: self._plug(record, wired, plug, spec))
        record.wired.append(wired)

    def _plug(
        self, record: SandboxRecord, wired: Wired, plug: Plug, spec: BridgeSpec | None
    ) -> None:
        try:
            if spec is not None:
                self._have_bridge(wired.endpoint.network_id, spec)
            self._host.wire(Path(record.key), [(wired, plug)])
        except OSError as error:
            raise InternalError(
                f"failed to create endpoint {record.name} on network "
                f"{wired.endpoint.network_name}: {error.strerror or error}"
            ) from error

    def _have_bridge(self, network_id: str, spec: BridgeSpec) -> None:
        state = self._states.get(network_id)
        if state is not None and state.network.encrypted:
            self._host.seal(state)
        is_new = not self._host.has_bridge(spec.name)
        self._host.ensure_bridge(spec)
        if is_new:
            self._program(network_id)

    async def _program_sealed(self) -> None:
        for state in self._states.all():
            if state.network.encrypted:
                await self._thread.run(partial(self._program, state.network.id))

    def _program(self, network_id: str) -> None:
        """Program a network's tunnel by its newest state, if its bridge is here."""
        state = self._states.get(network_id)
        if state is not None and self._host.has_bridge(bridge_name(state.network)):
            self._host.apply(state)

    def _wired_default(
        self, record: SandboxRecord, endpoint: EndpointRecord
    ) -> tuple[Wired, BridgeSpec | None]:
        address = self._leases.take(record.container_id)
        leased = endpoint.model_copy(
            update={"ipv4_address": f"{address}/{self._leases.pool.prefixlen}", "ipv6_address": ""}
        )
        spec = self._default
        return wired_endpoint(leased, spec.addresses, driver="bridge", internal=False), spec

    def _wired_user(self, endpoint: EndpointRecord) -> tuple[Wired, BridgeSpec | None]:
        state = self._states.get(endpoint.network_id)
        if state is None:
            raise NotFoundError(f"network {endpoint.network_id} not found")
        network = state.network
        wired = wired_endpoint(
            endpoint, gateways_of(network), driver=network.driver, internal=network.internal
        )
        if network.driver != "macvlan":
            return wired, bridge_spec(network, self._host.uplink_mtu)
        parent = network.options.get("parent", "")
        wired.bridge = f"{parent}:{network.options.get('macvlan_mode') or 'bridge'}"
        return wired, None

    async def _rearrange(self, record: SandboxRecord, joining: Joining, sandbox: Sandbox) -> None:
        """Set routes, ports and names again after a network came or went."""
        await self._thread.run(lambda: self._host.route_by(sandbox.key, record.wired))
        if not record.published:
            self._publisher.take(record, joining, self._port_host_ip(record))
        await self._publisher.publish(record)
        await self._serve_names(record)
        self._store.write(record)

    def _port_host_ip(self, record: SandboxRecord) -> str:
        """Return where ports are published that name no host address."""
        chosen = gateway_endpoint(record.wired)
        state = self._states.get(chosen.endpoint.network_id) if chosen else None
        return default_host_ip(state.network) if state else ""

    async def _undo(self, record: SandboxRecord) -> None:
        await self._thread.run(lambda: self._daemon.drop(record.container_id))
        await self._publisher.withdraw(record, port_addresses(record))
        # The pairs die with the namespace: deleting them here would cost 20 ms each.
        record.wired.clear()
        self._leases.free(record.container_id)

    # Names

    async def _serve_names(self, record: SandboxRecord) -> None:
        if is_in_user_network(record.wired):
            wanted = resolver(record)
            await self._thread.run(lambda: self._daemon.resolve(wanted))
        else:
            await self._thread.run(lambda: self._daemon.drop(record.container_id))

    def _attachment(self, record: SandboxRecord, joining: Joining) -> Attachment:
        gateway = str(self._default.addresses[0].ip)
        return attachment(record, joining, self._sandboxes.values(), gateway)

    # After a restart of the agent, and of other people's firewall

    async def _restore(self) -> None:
        specs = {self._default.name: self._default}
        elements = []
        for record in self._sandboxes.values():
            for one in record.wired:
                state = self._states.get(one.endpoint.network_id)
                if one.endpoint.network_name == DEFAULT_NETWORK:
                    address = ipaddress.IPv4Interface(one.addresses[0]).ip
                    self._leases.take(record.container_id, address)
                elif state is not None and one.driver == "bridge":
                    spec = bridge_spec(state.network, self._host.uplink_mtu)
                    specs[spec.name] = spec
            elements += self._publisher.retake(record)
        states = self._states.all()
        await self._thread.run(lambda: self._host.install(list(specs.values()), elements))
        await self._thread.run(partial(self._join_tunnels, states))
        for state in states:
            await self._thread.run(partial(self._program, state.network.id))
        kept = {self._default.name, *(bridge_name(state.network) for state in states)}
        await self._thread.run(lambda: self._host.sweep(kept))
        records = list(self._sandboxes.values())
        await self._thread.run(
            lambda: self._daemon.open(
                [network_names(state) for state in states],
                [resolver(one) for one in records if is_in_user_network(one.wired)],
                [port for one in records for port in held_ports(one)],
            )
        )

    def _join_tunnels(self, states: Sequence[NetworkState]) -> None:
        """Know the peers of all networks before the first is programmed: none is interrupted."""
        for state in states:
            if state.network.encrypted and self._host.has_bridge(bridge_name(state.network)):
                self._host.tunnel.join(state.network.id, state.nodes)

    async def _repair_forever(self) -> None:
        while True:
            await ended(self._daemon.pid, _REPAIR_EVERY_S)
            try:
                await self.repair()
            except (OSError, subprocess.SubprocessError) as error:
                _LOG.warning("firewall or network daemon could not be repaired: %s", error)
                await asyncio.sleep(_REPAIR_EVERY_S)

    def _sweep_namespaces(self) -> None:
        """Remove namespaces that an agent left which died before it wrote them down."""
        known = {record.key for record in self._sandboxes.values()}
        for path in self._namespaces.glob("*"):
            if str(path) not in known:
                namespaces.remove(path)

    def _record(self, container_id: str) -> SandboxRecord:
        try:
            return self._sandboxes[container_id]
        except KeyError:
            raise InternalError(f"container {container_id} has no sandbox") from None

    def _uses(self, network_id: str) -> bool:
        return any(
            one.endpoint.network_id == network_id
            for record in self._sandboxes.values()
            for one in record.wired
        )


def _ordered(joining: Joining) -> list[EndpointRecord]:
    """Return the endpoints to wire: that of the network mode first, then by name."""
    mode = joining.host_config.network_mode
    mode = DEFAULT_NETWORK if mode in ("", "default") else mode
    return sorted(
        (one for one in joining.endpoints if one.network_name != NO_NETWORK),
        key=lambda one: (mode not in (one.network_name, one.network_id), one.network_name),
    )


def _interface_sysctls(endpoint: EndpointRecord, interface: str) -> dict[str, str]:
    """Return ``com.docker.network.endpoint.sysctls`` with IFNAME replaced."""
    text = endpoint.settings.driver_opts.get("com.docker.network.endpoint.sysctls", "")
    sysctls = {}
    for entry in filter(None, text.split(",")):
        name, _, value = entry.partition("=")
        sysctls[name.replace("IFNAME", interface).replace(".", "/")] = value
    return sysctls


def _has_ipv6() -> bool:
    try:
        return bool(_HAS_IPV6.read_text())
    except OSError:
        return False
