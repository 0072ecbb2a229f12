"""The table ``flotilla``: NAT, isolation and published ports, at a cost that does not grow.

Rules are fixed text; bridges, subnets and ports are elements of sets and maps. What should be
in them is kept here too, so that the table can be made again after ``nft flush ruleset``.
"""

import ipaddress
import logging
import subprocess
from collections.abc import Iterable

from flotilla_runtime_agent.network.netlink.nftables import (
    Element,
    ElementSocket,
    Network,
    Protocol,
)
from flotilla_runtime_agent.network.netlink.rules import load_rules

_LOG = logging.getLogger(__name__)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Packets that our forward chain lets pass carry this bit, for hosts whose own FORWARD chain drops.
PASS_MARK = 0x10000000
VXLAN_PORT = 4789
SEALED_PORT = 4788  # VXLAN of encrypted networks: seen in the tunnels only
TUNNEL_PREFIX = "fw-"  # of the interfaces into the tunnels

_RULES = """
add table inet {table}
delete table inet {table}
table inet {table} {{
    set bridges {{ type ifname; {bridges} }}
    set internal {{ type ifname; {internal} }}
    set masqueraded {{ type ifname; {masqueraded} }}
    set pairs {{ type ifname . ifname; {pairs} }}
    set tunnels4 {{ type ipv4_addr; {tunnels4} }}
    set tunnels6 {{ type ipv6_addr; {tunnels6} }}
    set subnets4 {{ type ifname . ipv4_addr; flags interval; {subnets4} }}
    set subnets6 {{ type ifname . ipv6_addr; flags interval; {subnets6} }}
    map ports4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; {ports4} }}
    map any4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; {any4} }}
    map ports6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; {ports6} }}
    map any6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; {any6} }}

    chain raw {{
        type filter hook prerouting priority raw; policy accept;
        iifname @bridges jump sent
        iifname "{tunnel}*" udp dport {sealed_port} accept
        iifname "{tunnel}*" meta l4proto != ipv6-icmp drop
        meta nfproto ipv6 udp dport {sealed_port} fib daddr type local drop
    }}
    chain sent {{
        ip daddr 127.0.0.0/8 drop
        meta l4proto != udp return
        udp dport != {vxlan_port} return
        ip daddr @tunnels4 drop
        ip6 daddr @tunnels6 drop
    }}
    chain sealed {{
        type filter hook output priority filter; policy accept;
        meta nfproto ipv6 udp dport {sealed_port} oifname != "{tunnel}*" drop
    }}
    chain published {{
        dnat ip to ip daddr . meta l4proto . th dport map @ports4
        dnat ip to meta l4proto . th dport map @any4
        ip6 daddr ::1 return
        dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6
        dnat ip6 to meta l4proto . th dport map @any6
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local jump published
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump published
    }}
    chain forward {{
        type filter hook forward priority filter - 5; policy accept;
        iifname "{tunnel}*" drop
        oifname "{tunnel}*" drop
        iifname @bridges jump ours
        oifname @bridges jump ours
    }}
    chain ours {{
        ct state established,related goto pass
        iifname . oifname @pairs goto pass
        iifname @internal drop
        oifname @internal drop
        ct status dnat goto pass
        oifname @bridges drop
        goto pass
    }}
    chain pass {{
        meta mark set meta mark | {mark}
        accept
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ct status dnat oifname . ip saddr @subnets4 masquerade
        ct status dnat oifname . ip6 saddr @subnets6 masquerade
        ip saddr 127.0.0.0/8 oifname @bridges masquerade
        iifname @masqueraded oifname != @bridges masquerade
    }}
}}
"""
_SETS = (
    "bridges",
    "internal",
    "masqueraded",
    "pairs",
    "tunnels4",
    "tunnels6",
    "subnets4",
    "subnets6",
    "ports4",
    "any4",
    "ports6",
    "any6",
)


def bridge_elements(
    name: str,
    subnets: Iterable[Network],
    *,
    internal: bool,
    masquerade: bool,
) -> list[Element]:
    """Return what the table must hold for a bridge."""
    elements = [Element("bridges", (name,)), Element("pairs", (name, name))]
    if internal:
        elements.append(Element("internal", (name,)))
    elif masquerade:
        elements.append(Element("masqueraded", (name,)))
    for subnet in subnets:
        elements.append(Element(f"subnets{subnet.version}", (name, subnet)))
    return elements


def tunnel_element(node: Address) -> Element:
    """Return what keeps containers from posing as a node, with VXLAN packets of their own."""
    return Element(f"tunnels{node.version}", (node,))


def port_element(
    host: Address, protocol: Protocol, host_port: int, target: Address, target_port: int
) -> Element:
    """Return the map element of a published port; both addresses are of one family."""
    data = (target, target_port)
    if host.is_unspecified:
        return Element(f"any{host.version}", (protocol, host_port), data)
    return Element(f"ports{host.version}", (host, protocol, host_port), data)


class Firewall:
    """The table of this network namespace. Methods block briefly; for one thread at a time."""

    def __init__(self, table: str = "flotilla") -> None:
        """Open the socket; ``install`` makes the table."""
        self._table = table
        self._socket = ElementSocket(table)
        self._elements: dict[tuple[str, tuple[object, ...]], Element] = {}
        self._rules = 0
        self._generation = 0  # of all tables, when they were looked at last

    def close(self) -> None:
        """Close the socket; the table stays."""
        self._socket.close()

    def install(self, elements: Iterable[Element] = ()) -> None:
        """Make the table anew, in one transaction, with these elements and all added before."""
        for element in elements:
            self._elements[_place(element)] = element
        texts: dict[str, list[str]] = {name: [] for name in _SETS}
        for element in self._elements.values():
            texts[element.set_name].append(element.text())
        clauses = {
            name: f"elements = {{ {', '.join(members)} }}" if members else ""
            for name, members in texts.items()
        }
        rules = _RULES.format(
            table=self._table,
            mark=hex(PASS_MARK),
            vxlan_port=VXLAN_PORT,
            sealed_port=SEALED_PORT,
            tunnel=TUNNEL_PREFIX,
            **clauses,
        )
        load_rules(rules)
        self._rules = self._socket.count_rules()

    def add(self, elements: Iterable[Element]) -> None:
        """Add elements, now and in every later making of the table."""
        wanted = list(elements)
        self._socket.add(wanted)
        for element in wanted:
            self._elements[_place(element)] = element

    def remove(self, elements: Iterable[Element]) -> None:
        """Remove elements; those that are gone are no error."""
        wanted = list(elements)
        for element in wanted:
            self._elements.pop(_place(element), None)
        self._socket.remove(wanted)

    def repair(self) -> bool:
        """Make the table again if its rules are missing; answers whether they were."""
        generation = self._socket.generation()
        if generation == self._generation:
            return False
        self._generation = generation
        if self._socket.has_dropping_forward_chain():
            pass_through_forward_policy()
        if self._socket.count_rules() == self._rules:
            return False
        _LOG.warning("the firewall table %s was changed by others; making it again", self._table)
        self.install()
        return True


def pass_through_forward_policy() -> None:
    """Let our packets through a FORWARD chain whose policy is DROP, as dockerd's own rules do.

    A verdict of our table cannot overrule another table's drop. The one rule that this adds
    matches nothing but the mark of our forward chain.
    """
    for program in ("iptables", "ip6tables"):
        try:
            listed = _run(program, "-w", "-S", "FORWARD")
        except FileNotFoundError:
            return
        if "-P FORWARD DROP" not in listed.stdout:
            continue
        rule = ["FORWARD", "-m", "mark", "--mark", f"{PASS_MARK:#x}/{PASS_MARK:#x}", "-j", "ACCEPT"]
        if _run(program, "-w", "-C", *rule).returncode != 0:
            _run(program, "-w", "-I", *rule)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _place(element: Element) -> tuple[str, tuple[object, ...]]:
    return element.set_name, element.key
