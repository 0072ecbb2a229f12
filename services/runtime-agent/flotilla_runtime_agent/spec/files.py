"""The files that a container gets from its host: hostname, hosts and resolv.conf."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_LOCAL_HOSTS = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::0", "ip6-localnet"),
    ("ff00::0", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)


def hosts(entries: Sequence[tuple[str, str]]) -> str:
    """Return ``/etc/hosts``: the local names, then these."""
    return "".join(f"{address}\t{names}\n" for address, names in (*_LOCAL_HOSTS, *entries))


def resolv_conf(nameservers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> str:
    """Return ``/etc/resolv.conf``."""
    lines = [f"nameserver {server}" for server in nameservers]
    if search and list(search) != ["."]:
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)


def write_in_place(path: Path, text: str) -> None:
    """Write a file that may be bound into a container: its inode must stay."""
    with path.open("w") as file:
        file.write(text)
    path.chmod(0o644)
