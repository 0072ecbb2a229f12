"""Simulated hosts: a network namespace each, joined by a bridge of this machine, with NAT out.

Everything carries the stack's name or its mark, and every step may be repeated.
"""

import ipaddress
from pathlib import Path

from flotilla_cli.commands import run, run_json, succeeds
from flotilla_cli.stack import Host, Stack

_NETNS = Path("/run/netns")


def taken_networks() -> list[ipaddress.IPv4Network]:
    """Return the networks to which this machine has a route."""
    destinations = [str(route["dst"]) for route in run_json("ip", "-j", "-4", "route")]
    return [ipaddress.IPv4Network(text) for text in destinations if text != "default"]


def bridge(stack: Stack) -> str:
    """Return the name of the stack's bridge."""
    return f"fb{stack.mark}"


def link(stack: Stack, host: Host) -> str:
    """Return the name of the host's cable at the bridge."""
    return f"fv{stack.mark}-{host.number}"


def _link_exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


def set_up(stack: Stack) -> None:
    """Make the bridge and the way out."""
    name = bridge(stack)
    if not _link_exists(name):
        run("ip", "link", "add", name, "type", "bridge")
    run("ip", "link", "set", name, "alias", f"flotilla {stack.name}")
    prefix = ipaddress.IPv4Network(stack.subnet).prefixlen
    run("ip", "addr", "replace", f"{stack.control_address}/{prefix}", "dev", name)
    run("ip", "link", "set", name, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    table = f"flotilla_{stack.mark}"
    rules = f"""
table ip {table} {{
    chain out {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {stack.subnet} oifname != "{name}" masquerade comment "flotilla {stack.name}"
    }}
}}
"""
    run("nft", "-f", "-", stdin=f"table ip {table}\ndelete table ip {table}\n{rules}")
    _allow_forwarding(name)


def _allow_forwarding(name: str) -> None:
    """Let the bridge's traffic through a FORWARD chain whose policy drops (dockerd's, ufw's)."""
    if not _filters_forwarding():
        return
    for direction in ("-i", "-o"):
        rule = ("FORWARD", direction, name, "-j", "ACCEPT")
        if not succeeds("iptables", "-w", "-C", *rule):
            succeeds("iptables", "-w", "-I", *rule)


def _filters_forwarding() -> bool:
    """Say whether iptables has a FORWARD chain: asking iptables itself would make one."""
    legacy = Path("/proc/net/ip_tables_names")
    in_legacy = legacy.exists() and "filter" in legacy.read_text().split()
    return in_legacy or succeeds("nft", "list", "chain", "ip", "filter", "FORWARD")


def _forbid_forwarding(name: str) -> None:
    if not _filters_forwarding():
        return
    for direction in ("-i", "-o"):
        succeeds("iptables", "-w", "-D", "FORWARD", direction, name, "-j", "ACCEPT")


def set_up_host(stack: Stack, host: Host) -> None:
    """Make the host's namespace and plug it in."""
    namespace, cable = stack.namespace(host), link(stack, host)
    if not (_NETNS / namespace).exists():
        run("ip", "netns", "add", namespace)
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    if not _link_exists(cable):
        peer = ("peer", "name", "eth0", "netns", namespace)
        run("ip", "link", "add", cable, "type", "veth", *peer)
    run("ip", "link", "set", cable, "master", bridge(stack), "up")
    prefix = ipaddress.IPv4Network(stack.subnet).prefixlen
    run("ip", "-n", namespace, "addr", "replace", f"{host.address}/{prefix}", "dev", "eth0")
    run("ip", "-n", namespace, "link", "set", "eth0", "up")
    run("ip", "-n", namespace, "route", "replace", "default", "via", stack.control_address)


def tear_down_host(stack: Stack, host: Host) -> None:
    """Remove the host's namespace, and with it every link and rule in it."""
    if _link_exists(link(stack, host)):
        succeeds("ip", "link", "del", link(stack, host))
    if (_NETNS / stack.namespace(host)).exists():
        run("ip", "netns", "del", stack.namespace(host))


def tear_down(stack: Stack) -> None:
    """Remove what `set_up` made."""
    _forbid_forwarding(bridge(stack))
    succeeds("nft", "delete", "table", "ip", f"flotilla_{stack.mark}")
    if _link_exists(bridge(stack)):
        run("ip", "link", "del", bridge(stack))


def cut(stack: Stack, host: Host) -> None:
    """Lose every frame from and to the host; its cable stays plugged in."""
    run("bridge", "link", "set", "dev", link(stack, host), "state", "0")


def heal(stack: Stack, host: Host) -> None:
    """Undo `cut`."""
    run("bridge", "link", "set", "dev", link(stack, host), "state", "3")


def is_cut(stack: Stack, host: Host) -> bool:
    """Say whether the host is cut off."""
    state = Path("/sys/class/net", link(stack, host), "brport/state")
    return state.exists() and state.read_text().strip() == "0"
