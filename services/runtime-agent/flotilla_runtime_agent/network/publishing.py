"""Publishes containers' ports: takes them, leads them to the container, gives them back."""

from collections.abc import Mapping

from flotilla_core.errors import InternalError
from flotilla_runtime_agent.network.daemon.client import NetworkDaemon
from flotilla_runtime_agent.network.daemon.state import HeldPort
from flotilla_runtime_agent.network.host import Host, KernelThread, port_addresses
from flotilla_runtime_agent.network.netlink.nftables import Element
from flotilla_runtime_agent.network.netlink.route import Address
from flotilla_runtime_agent.network.ports import (
    Ledger,
    elements_for,
    proxy_target,
    wanted_ports,
)
from flotilla_runtime_agent.network.sandboxes import Published, SandboxRecord
from flotilla_runtime_agent.network.specs import gateway_endpoint
from flotilla_runtime_agent.ports import Joining


class Publisher:
    """The published ports of this node's containers."""

    def __init__(
        self, thread: KernelThread, host: Host, daemon: NetworkDaemon, *, ipv6: bool
    ) -> None:
        """Publish nothing yet; ``ipv6``: whether the host has it."""
        self._thread = thread
        self._host = host
        self._daemon = daemon
        self._ledger = Ledger(ipv6=ipv6)

    def close(self) -> None:
        """Leave the ports to the daemon; what is in the kernel stays."""
        self._ledger.close()

    def take(self, record: SandboxRecord, joining: Joining, default_host_ip: str) -> None:
        """Take the ports that a container asks for.

        Raises:
            InternalError: With dockerd's text if one is taken; none of them is held then.
        """
        chosen = gateway_endpoint(record.wired)
        if chosen is None or chosen.driver != "bridge":
            return
        published: list[Published] = []
        try:
            for wanted in wanted_ports(joining.host_config, joining.exposed_ports, default_host_ip):
                published += self._ledger.take(record.container_id, wanted)
        except InternalError as error:
            self._ledger.free(record.container_id)
            raise InternalError(
                f"driver failed programming external connectivity on endpoint {record.name} "
                f"({chosen.endpoint.id}): {error.message}"
            ) from error
        record.published = published

    def retake(self, record: SandboxRecord) -> list[Element]:
        """Take a container's ports again after a restart; returns what leads to it."""
        self._ledger.retake(record.container_id, record.published)
        return _elements(record, port_addresses(record))

    async def publish(self, record: SandboxRecord) -> None:
        """Lead the taken ports to the container."""
        if not record.published:
            return
        elements = _elements(record, port_addresses(record))
        flows = _udp_ports(record)
        bound = self._ledger.handing_over(record.container_id)

        def publish() -> None:
            self._daemon.hold(held_ports(record), bound)
            self._host.publish(elements, flows)

        await self._thread.run(publish)
        self._ledger.handed_over(record.container_id)

    async def withdraw(self, record: SandboxRecord, targets: Mapping[int, Address]) -> None:
        """Give a container's ports back; targets are the addresses that they lead to."""
        elements = _elements(record, targets)
        flows = _udp_ports(record)

        def withdraw() -> None:
            if elements:
                self._host.withdraw(elements, flows)
            self._daemon.release(record.container_id)

        await self._thread.run(withdraw)
        self._ledger.free(record.container_id)
        record.published = []


def held_ports(record: SandboxRecord) -> list[HeldPort]:
    """Return what the network daemon holds for a container."""
    targets = port_addresses(record)
    return [
        HeldPort(
            owner=record.container_id,
            protocol=port.protocol,
            host=port.host_ip,
            port=port.host_port,
            target=proxy_target(port, targets),
        )
        for port in record.published
    ]


def _elements(record: SandboxRecord, targets: Mapping[int, Address]) -> list[Element]:
    return [one for port in record.published for one in elements_for(port, targets)]


def _udp_ports(record: SandboxRecord) -> set[int]:
    return {port.host_port for port in record.published if port.protocol == "udp"}
