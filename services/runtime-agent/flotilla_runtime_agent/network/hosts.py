"""Lines of a container's ``/etc/hosts``, and the variables of legacy links."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flotilla_core.errors import InvalidArgumentError
from flotilla_runtime_agent.network.ports import exposed_ports

HostLine = tuple[str, str]

_HOST_GATEWAY = "host-gateway"


@dataclass(frozen=True)
class LinkTarget:
    """A container that another one links to."""

    name: str
    hostname: str
    address: str
    exposed_ports: Sequence[str]


def own_lines(addresses: Sequence[str], hostname: str, domainname: str) -> list[HostLine]:
    """Return the container's own names, for each of its addresses."""
    full = f"{hostname}.{domainname}" if domainname else hostname
    short, dot, _ = full.partition(".")
    names = f"{full} {short}" if dot else full
    return [(str(ipaddress.ip_interface(text).ip), names) for text in addresses]


def extra_lines(extra_hosts: Sequence[str], gateway: str) -> list[HostLine]:
    """Return the lines of ``--add-host name:address``, also with ``=`` and ``host-gateway``.

    Raises:
        InvalidArgumentError: If there is no address.
    """
    lines = []
    for entry in extra_hosts:
        separator = "=" if "=" in entry else ":"
        name, _, address = entry.partition(separator)
        if not name or not address:
            raise InvalidArgumentError(f"invalid extra host: {entry}")
        address = gateway if address == _HOST_GATEWAY else address.strip("[]")
        lines.append((address, name))
    return lines


def parsed_link(link: str) -> tuple[str, str]:
    """Return (container, alias) of ``name:alias`` or of inspect's ``/name:/parent/alias``."""
    target, _, alias = link.partition(":")
    return target.lstrip("/"), (alias or target).rsplit("/", 1)[-1]


def link_lines(links: Sequence[str], find: Callable[[str], LinkTarget | None]) -> list[HostLine]:
    """Return the lines of legacy links, with dockerd's names in dockerd's order."""
    lines = []
    for link in links:
        name, alias = parsed_link(link)
        target = find(name)
        if target is None:
            continue
        names = f"{alias} {target.hostname}"
        if alias != target.name:
            names += f" {target.name}"
        lines.append((target.address, names))
    return lines


def link_environment(
    links: Sequence[str], parent: str, find: Callable[[str], LinkTarget | None]
) -> list[str]:
    """Return the variables of legacy links: ``DB_NAME``, ``DB_PORT_5432_TCP`` and so on."""
    variables = []
    for link in links:
        name, alias = parsed_link(link)
        target = find(name)
        if target is None:
            continue
        prefix = alias.upper().replace("-", "_")
        variables.append(f"{prefix}_NAME=/{parent}/{alias}")
        variables.extend(_port_variables(prefix, target))
    return variables


def _port_variables(prefix: str, target: LinkTarget) -> list[str]:
    variables = []
    ordered = sorted(exposed_ports(target.exposed_ports), key=lambda port: int(port.split("/")[0]))
    for position, port in enumerate(ordered):
        number, protocol = port.split("/")
        url = f"{protocol}://{target.address}:{number}"
        if position == 0:
            variables.append(f"{prefix}_PORT={url}")
        key = f"{prefix}_PORT_{number}_{protocol.upper()}"
        variables += [
            f"{key}={url}",
            f"{key}_ADDR={target.address}",
            f"{key}_PORT={number}",
            f"{key}_PROTO={protocol}",
        ]
    return variables
