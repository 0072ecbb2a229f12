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

    A port that several containers asked for is shared by them in turn.

    Args:
        records: Containers; only running ones count.
        addresses: Addresses of the nodes that can be reached, by id.
    """
    found: dict[Published, dict[Target, bool]] = {}
    publishing = [record for record in records if record.ports and record.state.running]
    for record in sorted(publishing, key=lambda record: record.created):
        address = addresses.get(record.node_id)
        if address is None:
            continue
        for key, bindings in record.ports.items():
            protocol = split_protocol(key)[0]
            if protocol not in ("tcp", "udp"):
                continue
            for binding in bindings or ():
                if binding.host_port.isdecimal() and not _is_loopback(binding.host_ip):
                    port = int(binding.host_port)
                    target = Target(address, port, record.name)
                    asked = _asked_for(record, key, binding.host_port)
                    found.setdefault(Published(protocol, port), {}).setdefault(target, asked)
    return {port: _serving(targets) for port, targets in found.items()}


def _asked_for(record: ContainerRecord, key: str, host_port: str) -> bool:
    bindings = record.host_config.port_bindings.get(key) or ()
    return any(binding.host_port == host_port for binding in bindings)


def _serving(targets: dict[Target, bool]) -> list[Target]:
    """Return all, if all asked for the port; of those that got it by chance only the oldest."""
    if all(targets.values()):
        return sorted(targets, key=lambda target: (target.address, target.container))
    return [next((target for target, asked in targets.items() if asked), next(iter(targets)))]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
