"""Address management, pure: which pools and which addresses are free. No storage, no I/O.

Texts are dockerd's (moby ``api/types/network/ipam.go``, ``libnetwork/ipam``).
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from flotilla_core.errors import (
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from flotilla_engine.networking import Ipam, IpamConfig

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

OVERLAP = "Pool overlaps with other one on this address space"
_MAX_SCAN = 1 << 20


class PoolExhaustedError(InternalError):
    """All addresses of a network's pools are leased."""

    def __init__(self, version: int, network: str = "") -> None:
        """Say it as dockerd does; network is ``name (id)``."""
        self.version = version
        where = f": {network}" if network else ""
        super().__init__(
            f"no available IPv{version} addresses on this network's address pools{where}"
        )


@dataclass(frozen=True)
class DefaultPool:
    """A block that networks without a subnet of their own get equal parts of."""

    base: Subnet
    prefix: int

    def parts(self) -> Iterator[Subnet]:
        """Yield the parts, lowest first."""
        yield from self.base.subnets(new_prefix=self.prefix)


# As dockerd's (libnetwork/ipamutils), without 172.17.0.0/16: that is each node's own bridge.
DEFAULT_POOLS: tuple[DefaultPool, ...] = (
    *(DefaultPool(ipaddress.ip_network(f"172.{block}.0.0/16"), 16) for block in range(18, 32)),
    DefaultPool(ipaddress.ip_network("192.168.0.0/16"), 20),
)


def parsed_pools(text: str) -> tuple[DefaultPool, ...]:
    """Read default pools as ``10.200.0.0/16:24,10.201.0.0/16:24`` (base and size of parts)."""
    pools = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        base, _, size = word.rpartition(":")
        try:
            network = ipaddress.ip_network(base)
            pools.append(DefaultPool(network, int(size)))
            next(pools[-1].parts())
        except ValueError as error:
            raise InvalidArgumentError(f"invalid default address pool {word}: {error}") from error
    return tuple(pools)


@dataclass(frozen=True)
class Pool:
    """What addresses of one network are leased from."""

    subnet: Subnet
    ip_range: Subnet
    gateway: Address | None
    reserved: frozenset[Address] = field(default_factory=frozenset)

    def free(self, used: Collection[str]) -> Address | None:
        """Return the lowest free address, or None."""
        first, last = int(self.ip_range.network_address), int(self.ip_range.broadcast_address)
        taken = {int(ipaddress.ip_address(address)) for address in used}
        taken |= {int(address) for address in self.unusable()}
        for number in range(first, min(last, first + _MAX_SCAN) + 1):
            if number not in taken:
                return self.subnet.network_address + (number - int(self.subnet.network_address))
        return None

    def unusable(self) -> Iterable[Address]:
        """Yield the addresses that no container can have."""
        yield from self.reserved
        if self.gateway is not None:
            yield self.gateway
        yield from _edges(self.subnet)

    def with_length(self, address: str) -> str:
        """Return the address as ``172.18.0.2/16``."""
        return f"{address}/{self.subnet.prefixlen}"


def pool_of(config: IpamConfig) -> Pool:
    """Return the pool that a validated configuration describes."""
    subnet = ipaddress.ip_network(config.subnet)
    ip_range = ipaddress.ip_network(config.ip_range) if config.ip_range else subnet
    reserved = frozenset(
        ipaddress.ip_address(address) for address in config.auxiliary_addresses.values()
    )
    if config.gateway:
        gateway: Address | None = ipaddress.ip_address(config.gateway)
    else:
        gateway = _first_free(subnet, reserved)
    return Pool(subnet, ip_range, gateway, reserved)


def _first_free(subnet: Subnet, reserved: Collection[Address]) -> Address | None:
    hosts = (host for host in subnet.hosts() if host not in reserved)
    return next(hosts, None)


def default_subnet(
    pools: Sequence[DefaultPool], taken: Iterable[Subnet], version: int = 4
) -> Subnet:
    """Return the first part of the default pools that overlaps nothing that is taken.

    Raises:
        NotFoundError: If all of them do, as dockerd says it.
    """
    occupied = [subnet for subnet in taken if subnet.version == version]
    for pool in pools:
        if pool.base.version != version:
            continue
        for part in pool.parts():
            if not any(part.overlaps(other) for other in occupied):
                return part
    raise NotFoundError(
        f"could not find an available, non-overlapping IPv{version} address pool among the "
        "defaults to assign to the network"
    )


def unique_local_pool(fleet_id: str) -> DefaultPool:
    """Return the fleet's own IPv6 block (RFC 4193): /64 parts of a /48 made of the fleet's id."""
    digits = fleet_id[:10]
    base = f"fd{digits[:2]}:{digits[2:6]}:{digits[6:10]}::/48"
    return DefaultPool(ipaddress.ip_network(base), 64)


def refuse_overlap(subnet: Subnet, taken: Iterable[Subnet]) -> None:
    """Raise dockerd's refusal if the subnet overlaps one that is in use."""
    for other in taken:
        if subnet.version == other.version and subnet.overlaps(other):
            raise PermissionDeniedError(OVERLAP)


def refuse_taken(ipam: Ipam) -> None:
    """Raise dockerd's refusal of pools that overlap, and of addresses that cannot be reserved."""
    subnets: list[Subnet] = []
    for config in ipam.config:
        subnet = ipaddress.ip_network(config.subnet)
        refuse_overlap(subnet, subnets)
        subnets.append(subnet)
        used = set(_edges(subnet))
        asked = {f"gateway ({config.gateway})": config.gateway} if config.gateway else {}
        for name, text in config.auxiliary_addresses.items():
            asked[f"secondary ip address ({name}:{text})"] = text
        for what, text in asked.items():
            if (address := ipaddress.ip_address(text)) in used:
                raise InternalError(f"failed to allocate {what}: Address already in use")
            used.add(address)


def _edges(subnet: Subnet) -> Iterator[Address]:
    """Yield the addresses of a subnet that nobody can have."""
    if subnet.prefixlen < subnet.max_prefixlen - 1:
        yield subnet.network_address
        if subnet.version == 4:
            yield subnet.broadcast_address


def validate(ipam: Ipam, *, enable_ipv6: bool) -> None:
    """Check what a user asks of a network's addresses.

    Raises:
        InvalidArgumentError: With all that is wrong, in dockerd's words.
    """
    faults: list[str] = []
    for config in ipam.config:
        faults += _faults(config, enable_ipv6=enable_ipv6)
    if len(faults) == 1:
        raise InvalidArgumentError(f"invalid network config:\n{faults[0]}")
    if faults:
        lines = "\n".join(f"* {fault}" for fault in faults)
        raise InvalidArgumentError(f"invalid network config:\n{lines}")


def _faults(config: IpamConfig, *, enable_ipv6: bool) -> Iterator[str]:
    interface = _interface(config.subnet)
    if interface is None:
        yield f"invalid subnet {config.subnet}: invalid CIDR block notation"
        return
    subnet = interface.network
    if subnet.version == 6 and not enable_ipv6:
        return
    if interface.ip != subnet.network_address:
        yield f"invalid subnet {interface}: it should be {subnet}"
    if config.ip_range:
        for fault in _range_faults(config.ip_range, subnet):
            yield f"invalid ip-range {config.ip_range}: {fault}"
    if config.gateway and (fault := _address_fault(config.gateway, subnet)):
        yield f"invalid gateway {config.gateway}: {fault}"
    for name, address in config.auxiliary_addresses.items():
        if fault := _address_fault(address, subnet):
            yield f"invalid auxiliary address {name}: {fault}"


def _interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    if "/" not in text or not text.rpartition("/")[2].isdecimal():
        return None
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        return None


def _range_faults(text: str, subnet: Subnet) -> Iterator[str]:
    interface = _interface(text)
    if interface is None:
        yield "invalid CIDR block notation"
        return
    ip_range = interface.network
    if ip_range.version != subnet.version:
        yield f"parent subnet is an IPv{subnet.version} block"
        return
    if ip_range.prefixlen < subnet.prefixlen:
        yield f"CIDR block is bigger than its parent subnet {subnet}"
    if interface.ip != ip_range.network_address:
        yield f"it should be {ip_range}"
    if not subnet.overlaps(ip_range):
        yield f"parent subnet {subnet} doesn't contain ip-range"


def _address_fault(text: str, subnet: Subnet) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "invalid address"
    if address.version != subnet.version:
        return f"parent subnet is an IPv{subnet.version} block"
    if address not in subnet:
        return f"parent subnet {subnet} doesn't contain this address"
    return ""


def lease(pools: Sequence[Pool], version: int, wanted: str, used: Collection[str]) -> str | None:
    """Return the address to lease: the wanted one or the lowest free; None without a pool.

    Raises:
        PermissionDeniedError: If the wanted address is in use (dockerd's status and text).
        PoolExhaustedError: If no address is left.
    """
    candidates = [pool for pool in pools if pool.subnet.version == version]
    if not candidates:
        return None
    if wanted:
        return _wanted(candidates, wanted, used)
    for pool in candidates:
        if (address := pool.free(used)) is not None:
            return str(address)
    raise PoolExhaustedError(version)


def _wanted(pools: Sequence[Pool], wanted: str, used: Collection[str]) -> str:
    address = ipaddress.ip_address(wanted)
    for pool in pools:
        if address in pool.subnet:
            if str(address) in used or address in pool.unusable():
                raise PermissionDeniedError("Address already in use")
            return str(address)
    raise InvalidArgumentError(
        "invalid endpoint settings:\n"
        f"no configured subnet or ip-range contain the IP address {wanted}"
    )


def mac_of(ipv4: str | None, random_tail: bytes) -> str:
    """Return dockerd's MAC address of an endpoint: 02:42 and the IPv4 address."""
    tail = ipaddress.IPv4Address(ipv4).packed if ipv4 else random_tail[:4]
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + tail)
