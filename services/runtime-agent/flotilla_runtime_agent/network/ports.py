"""Published ports: what was asked for, which port it becomes, and whose it is."""

import errno
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from flotilla_core.errors import InternalError, InvalidArgumentError
from flotilla_engine.host_config import HostConfig, PortBinding
from flotilla_runtime_agent.network.firewall import port_element
from flotilla_runtime_agent.network.netlink.nftables import Element, Protocol
from flotilla_runtime_agent.network.sandboxes import Published

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PROTOCOLS = {"tcp": Protocol.TCP, "udp": Protocol.UDP, "sctp": Protocol.SCTP}
_SOCKET_TYPES = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_PORT = re.compile(r"^(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?$")
_LOCAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True)
class Wanted:
    """A container's port, and where on the host it is to be; no ports means any."""

    protocol: str
    container_port: int
    host_ip: str
    first: int
    last: int


def wanted_ports(
    host_config: HostConfig, exposed: Sequence[str], default_host_ip: str = ""
) -> list[Wanted]:
    """Return what a container asks for, in the order of its ports.

    Raises:
        InvalidArgumentError: If a port is none.
    """
    bindings: dict[str, list[PortBinding]] = {
        port: list(asked or [PortBinding()]) for port, asked in host_config.port_bindings.items()
    }
    if host_config.publish_all_ports:
        for port in exposed:
            bindings.setdefault(port, [PortBinding()])
    wanted = []
    for port, asked in sorted(bindings.items(), key=lambda item: _port(item[0])):
        number, _, protocol = _port(port)
        for binding in asked:
            first, last = _host_range(binding.host_port)
            host_ip = binding.host_ip or default_host_ip
            wanted.append(Wanted(protocol, number, host_ip, first, last))
    return wanted


def exposed_ports(ports: Iterable[str]) -> list[str]:
    """Return single ports of a list that may have ranges, each with its protocol."""
    single: list[str] = []
    for port in ports:
        try:
            first, last, protocol = _port(port)
        except InvalidArgumentError:  # dockerd lets it be: there is nothing to open
            continue
        single.extend(f"{number}/{protocol}" for number in range(first, last + 1))
    return single


def listing(
    exposed: Sequence[str], published: Iterable[Published]
) -> dict[str, list[PortBinding] | None]:
    """Return ``NetworkSettings.Ports``: exposed ports, with where they are published."""
    ports: dict[str, list[PortBinding] | None] = dict.fromkeys(exposed_ports(exposed))
    for one in published:
        key = f"{one.container_port}/{one.protocol}"
        bindings = ports.get(key) or []
        bindings.append(PortBinding(host_ip=one.host_ip, host_port=str(one.host_port)))
        ports[key] = bindings
    return ports


def elements_for(published: Published, targets: Mapping[int, Address]) -> list[Element]:
    """Return the map elements of a port; targets are the container's addresses by IP version."""
    host = ipaddress.ip_address(published.host_ip)
    target = targets.get(host.version)
    if target is None:
        return []
    protocol = _PROTOCOLS[published.protocol]
    return [port_element(host, protocol, published.host_port, target, published.container_port)]


def proxy_target(published: Published, targets: Mapping[int, Address]) -> tuple[str, int] | None:
    """Return where connections to the host's own socket go; None if the kernel takes them all."""
    host = ipaddress.ip_address(published.host_ip)
    if host.version == 4 or not targets:
        return None
    return str(targets.get(6) or targets[4]), published.container_port


class Ledger:
    """Which container has which port of the host.

    A socket bound to each keeps others off; the network daemon holds it once it was given.
    """

    def __init__(self, *, ipv6: bool) -> None:
        """Start with nothing taken; ``ipv6``: whether the host has it."""
        self._ipv6 = ipv6
        self._taken: dict[tuple[str, int], set[str]] = {}
        self._by_owner: dict[str, list[tuple[str, str, int]]] = {}
        self._bound: dict[str, dict[tuple[str, str, int], socket.socket]] = {}
        # Hosts begin at different ports, so that one that was not asked for is rarely had twice.
        self._next = secrets.randbelow(2**16)

    def take(self, owner: str, wanted: Wanted) -> list[Published]:
        """Take a port for an owner: one entry per address of the host.

        Raises:
            InternalError: With dockerd's text if the port is taken.
        """
        hosts = self._hosts(wanted.host_ip)
        failure: Exception | None = None
        for port in self._choices(wanted):
            try:
                self._take_all(owner, wanted.protocol, hosts, port)
            except (InternalError, OSError) as error:
                failure = failure or error
                continue
            return [
                Published(
                    protocol=wanted.protocol,
                    container_port=wanted.container_port,
                    host_ip=host,
                    host_port=port,
                )
                for host in hosts
            ]
        if wanted.first != wanted.last or failure is None or not wanted.first:
            raise InternalError("all ports are allocated")
        raise _conflict(failure, wanted, hosts[0])

    def retake(self, owner: str, published: Iterable[Published]) -> None:
        """Take ports that were the owner's before a restart of the agent."""
        for one in published:
            self._note(owner, one.protocol, one.host_ip, one.host_port)

    def handing_over(self, owner: str) -> dict[tuple[str, str, int], socket.socket]:
        """Return the sockets of an owner's ports that were not handed over yet."""
        return self._bound.get(owner, {})

    def handed_over(self, owner: str) -> None:
        """Close the sockets of an owner's ports: somebody else holds them now."""
        for bound in self._bound.pop(owner, {}).values():
            bound.close()

    def free(self, owner: str) -> None:
        """Give all ports of an owner back; safe to repeat."""
        self.handed_over(owner)
        for protocol, host, port in self._by_owner.pop(owner, []):
            hosts = self._taken[(protocol, port)]
            hosts.discard(host)
            if not hosts:
                del self._taken[(protocol, port)]

    def close(self) -> None:
        """Close what was not handed over."""
        for owner in tuple(self._bound):
            self.handed_over(owner)

    def _hosts(self, host_ip: str) -> list[str]:
        with suppress(ValueError):  # what is no address is none, as with dockerd
            return [str(ipaddress.ip_address(host_ip.strip("[]")))]
        return ["0.0.0.0", "::"] if self._ipv6 else ["0.0.0.0"]

    def _choices(self, wanted: Wanted) -> Iterable[int]:
        if wanted.first:
            return range(wanted.first, wanted.last + 1)
        first, last = (int(word) for word in _LOCAL_RANGE.read_text().split())
        count = last - first + 1
        start, self._next = first + self._next % count, self._next + 1
        return chain(range(start, last + 1), range(first, start))

    def _take_all(self, owner: str, protocol: str, hosts: Sequence[str], port: int) -> None:
        for host in hosts:
            if self._is_taken(protocol, host, port):
                raise InternalError(
                    f"Bind for {_shown(host)}:{port} failed: port is already allocated"
                )
        bound: dict[str, socket.socket | None] = {}
        try:
            for host in hosts:
                bound[host] = bind_port(protocol, host, port)
        except OSError:
            for one in bound.values():
                if one is not None:
                    one.close()
            raise
        for host, one in bound.items():
            self._note(owner, protocol, host, port)
            if one is not None:
                self._bound.setdefault(owner, {})[(protocol, host, port)] = one

    def _note(self, owner: str, protocol: str, host: str, port: int) -> None:
        self._taken.setdefault((protocol, port), set()).add(host)
        self._by_owner.setdefault(owner, []).append((protocol, host, port))

    def _is_taken(self, protocol: str, host: str, port: int) -> bool:
        hosts = self._taken.get((protocol, port), set())
        everywhere = "::" if ":" in host else "0.0.0.0"
        if host == everywhere:
            return any((":" in held) == (":" in host) for held in hosts)
        return host in hosts or everywhere in hosts


def _conflict(failure: Exception, wanted: Wanted, host: str) -> InternalError:
    if isinstance(failure, InternalError):
        return failure
    reason = "address already in use"
    if isinstance(failure, OSError) and failure.errno == errno.EADDRNOTAVAIL:
        reason = "cannot assign requested address"
    version = 6 if ":" in host else 4
    return InternalError(
        f"failed to bind port {_shown(host)}:{wanted.first}/{wanted.protocol}: Error starting "
        f"userland proxy: listen {wanted.protocol}{version} {_shown(host)}:{wanted.first}: "
        f"bind: {reason}"
    )


def bind_port(protocol: str, host: str, port: int) -> socket.socket | None:
    """Return a socket that keeps a port; None where the kernel has no such protocol.

    Raises:
        OSError: If somebody else has it.
    """
    kind, number = _SOCKET_TYPES[protocol]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        opened = socket.socket(family, kind, number)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            return None
        raise
    try:
        opened.setblocking(False)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        if kind == socket.SOCK_STREAM:
            opened.listen(128)
    except OSError:
        opened.close()
        raise
    return opened


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _port(text: str) -> tuple[int, int, str]:
    match = _PORT.match(text)
    if match is None:
        raise InvalidArgumentError(f"invalid port specification: {text!r}")
    first = int(match[1])
    return first, int(match[2] or first), match[3] or "tcp"


def _host_range(text: str) -> tuple[int, int]:
    if not text or text == "0":
        return 0, 0
    first, last, _ = _port(text)
    return first, last
