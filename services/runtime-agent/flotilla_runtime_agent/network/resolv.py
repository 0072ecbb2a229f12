"""What the host's ``/etc/resolv.conf`` says, and what a container's is to say."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EMBEDDED = "127.0.0.11"
_FALLBACK = ("8.8.8.8", "8.8.4.4")
_HOST_FILE = Path("/etc/resolv.conf")
# systemd-resolved's stub keeps the real servers here (dockerd looks there too).
_SYSTEMD_FILE = Path("/run/systemd/resolve/resolv.conf")


@dataclass(frozen=True)
class ResolvConf:
    """The three kinds of lines that matter."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parsed(content: str) -> ResolvConf:
    """Return what a resolv.conf says; the last ``search`` wins, as in the C library."""
    nameservers: list[str] = []
    search: Sequence[str] = ()
    options: list[str] = []
    for line in content.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", address, *_]:
                nameservers.append(address)
            case ["search" | "domain", *domains]:
                search = domains
            case ["options", *more]:
                options.extend(more)
            case _:
                pass
    return ResolvConf(tuple(nameservers), tuple(search), tuple(options))


def of_host() -> ResolvConf:
    """Return the host's resolvers."""
    found = _read(_HOST_FILE)
    if found.nameservers == ("127.0.0.53",) and _SYSTEMD_FILE.exists():
        return _read(_SYSTEMD_FILE)
    return found


def for_container(
    host: ResolvConf,
    *,
    dns: Sequence[str],
    search: Sequence[str],
    options: Sequence[str],
    embedded: bool,
) -> ResolvConf:
    """Return a container's file: with the embedded server, or with what it can reach itself."""
    domains = tuple(search) or host.search
    if domains == (".",):
        domains = ()
    chosen = tuple(options) or host.options
    if embedded:
        if not any(option.startswith("ndots:") for option in chosen):
            chosen = (*chosen, "ndots:0")
        return ResolvConf((EMBEDDED,), domains, chosen)
    servers = tuple(dns) or tuple(one for one in host.nameservers if not _is_loopback(one))
    return ResolvConf(servers or _FALLBACK, domains, chosen)


def forwarders(host: ResolvConf, dns: Sequence[str]) -> tuple[str, ...]:
    """Return the servers that the embedded one asks, from the host's namespace."""
    return tuple(dns) or host.nameservers or _FALLBACK


def _read(path: Path) -> ResolvConf:
    try:
        return parsed(path.read_text())
    except OSError:
        return ResolvConf()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.split("%")[0]).is_loopback
    except ValueError:
        return False
