"""What the agent makes for the embedded DNS server of a sandbox; the daemon serves it."""

import ipaddress
import os
import socket

from flotilla_engine.records import EndpointRecord, NetworkState
from flotilla_runtime_agent.network.daemon.state import NetworkNames, Resolver
from flotilla_runtime_agent.network.dns.servers import made_inside
from flotilla_runtime_agent.network.hosts import parsed_link
from flotilla_runtime_agent.network.netlink.rules import load_rules
from flotilla_runtime_agent.network.netlink.sockets import call_inside
from flotilla_runtime_agent.network.resolv import EMBEDDED
from flotilla_runtime_agent.network.sandboxes import SandboxRecord

_RULES = """
add table ip flotilla_dns
delete table ip flotilla_dns
table ip flotilla_dns {{
    chain output {{
        type nat hook output priority -100; policy accept;
        ip daddr {address} udp dport 53 dnat to {address}:{udp}
        ip daddr {address} tcp dport 53 dnat to {address}:{tcp}
    }}
}}
"""


def network_names(state: NetworkState) -> NetworkNames:
    """Return the names of a network's running containers."""
    names = NetworkNames(state.network.id, state.network.name)
    for endpoint in state.endpoints:
        if endpoint.running:
            _add(names, endpoint)
    return names


def _add(names: NetworkNames, endpoint: EndpointRecord) -> None:
    texts = (endpoint.ipv4_address, endpoint.ipv6_address)
    addresses = [str(ipaddress.ip_interface(text).ip) for text in texts if text]
    for name in {endpoint.container_name.lower(), *(one.lower() for one in endpoint.names)}:
        if name:
            names.forward.setdefault(name, []).extend(addresses)
    for address in addresses:
        names.reverse[address] = endpoint.container_name


def resolver(record: SandboxRecord) -> Resolver:
    """Return what the embedded DNS server of a sandbox is to know."""
    links: dict[str, str] = {}
    for wired in record.wired:
        for link in wired.endpoint.settings.links:
            target, alias = parsed_link(link)
            links.setdefault(alias.lower(), target)
    has_way_out = any(not one.internal for one in record.wired)
    return Resolver(
        container_id=record.container_id,
        key=record.key,
        networks=[one.endpoint.network_id for one in record.wired],
        links=links,
        forwarders=record.forwarders if has_way_out else [],
        forwards_inside=record.forwards_inside,
        ndots_set=record.ndots_set,
    )


def bound_sockets(namespace: str) -> tuple[socket.socket, socket.socket]:
    """Return sockets at any port, to which port 53 leads.

    Port 53 itself stays free, as with dockerd: the container may be a name server.
    """
    udp = made_inside(namespace, socket.AF_INET, socket.SOCK_DGRAM)
    tcp = made_inside(namespace, socket.AF_INET, socket.SOCK_STREAM)
    try:
        udp.bind((EMBEDDED, 0))
        tcp.bind((EMBEDDED, 0))
        tcp.listen(64)
        rules = _RULES.format(address=EMBEDDED, udp=udp.getsockname()[1], tcp=tcp.getsockname()[1])
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            call_inside(descriptor, lambda: load_rules(rules))
        finally:
            os.close(descriptor)
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp
