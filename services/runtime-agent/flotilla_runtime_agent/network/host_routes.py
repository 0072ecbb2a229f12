"""Subnets that this host has routes to: new networks of the fleet keep off them."""

import ipaddress
from pathlib import Path

_ROUTES = Path("/proc/net/route")
_USER_NETWORKS = "fl-"


def host_subnets() -> list[str]:
    """Return the IPv4 subnets of the host's routes, but for those of the fleet's networks."""
    try:
        return parsed(_ROUTES.read_text())
    except OSError:
        return []


def parsed(content: str) -> list[str]:
    """Return the subnets in ``/proc/net/route``, whose numbers are in the host's byte order."""
    found = set()
    for line in content.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[0].startswith(_USER_NETWORKS):
            continue
        address, mask = (bytes.fromhex(fields[place])[::-1] for place in (1, 7))
        if any(mask):
            prefix = f"{ipaddress.IPv4Address(address)}/{ipaddress.IPv4Address(mask)}"
            found.add(ipaddress.IPv4Network(prefix, strict=False))
    return [str(network) for network in sorted(found)]
