"""Which ports are published in the fleet, and where: pure, from the nodes' records."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flotilla_engine.ports import split_protocol
from flotilla_engine.records import ContainerRecord


@dataclass(frozen=True)
class Published:
    """A port of the fleet."""

    protocol: str  # tcp or udp
    port: int


@dataclass(frozen=True)
class Target:
    """Where a published port is: a node's address; the container's name is for logs."""

    address: str
    port: int
    container: str


def published(
    records: Iterable[ContainerRecord], addresses: Mapping[str, str]
) -> dict[Published, list[Target]]:
    """Return the targets of each port, in a fixed order.

    Args:
        records: Containers; only running ones count.
        addresses: Addresses of the nodes that can be reached, by id.
    """
    found: dict[Published, set[Target]] = {}
    for record in records:
        address = addresses.get(record.node_id)
        if not record.state.running or address is None:
            continue
        for key, bindings in record.ports.items():
            protocol = split_protocol(key)[0]
            if protocol not in ("tcp", "udp"):
                continue
            for binding in bindings or ():
                if binding.host_port.isdecimal() and not _is_loopback(binding.host_ip):
                    port = int(binding.host_port)
                    target = Target(address, port, record.name)
                    found.setdefault(Published(protocol, port), set()).add(target)
    return {
        port: sorted(targets, key=lambda target: (target.address, target.container))
        for port, targets in found.items()
    }


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
