"""Where a repository is to be reached: registries, mirrors, and which of them may be insecure."""

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci.references import DEFAULT_DOMAIN

_HUB = "registry-1.docker.io"
_HUB_INDEX = "index.docker.io"
_LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True)
class Endpoint:
    """One way to a registry.

    Attributes:
        url: Scheme, host and port, perhaps a path, without a slash at the end.
        verify: Whether its certificate must be good.
        is_mirror: Whether what it lacks may still be elsewhere.
        ca_file: Certificates that its own must be signed by; the system's if empty.
    """

    url: str
    verify: bool = True
    is_mirror: bool = False
    ca_file: str = ""


@dataclass(frozen=True)
class RegistryHosts:
    """How registries are reached, as `registry-mirrors` and `insecure-registries` of dockerd.

    Attributes:
        insecure: Hosts (with or without a port) and networks whose certificates are not checked
            and that may speak plain HTTP. Loopback addresses always may.
        mirrors: URLs to ask first for images of Docker Hub.
        certificates: Folder with `<host>/ca.crt`, as /etc/docker/certs.d.
    """

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    certificates: str = "/etc/docker/certs.d"

    def endpoints(self, domain: str, *, with_mirrors: bool) -> list[Endpoint]:
        """Return the ways to a registry, the best first."""
        found = []
        if domain == DEFAULT_DOMAIN:
            if with_mirrors:
                for mirror in self.mirrors:
                    host = mirror.partition("://")[2].partition("/")[0]
                    found.append(
                        Endpoint(mirror.rstrip("/"), not self.is_insecure(host), is_mirror=True)
                    )
            domain = _HUB
        ca_file = self._ca_file(domain)
        if not self.is_insecure(domain):
            return [*found, Endpoint(f"https://{domain}", ca_file=ca_file)]
        return [
            *found,
            Endpoint(f"https://{domain}", verify=False),
            Endpoint(f"http://{domain}", verify=False),
        ]

    def search_endpoints(self, domain: str) -> list[Endpoint]:
        """Return the ways to a registry's search."""
        if domain == DEFAULT_DOMAIN:
            return [Endpoint(f"https://{_HUB_INDEX}")]
        return self.endpoints(domain, with_mirrors=False)

    def is_insecure(self, domain: str) -> bool:
        """Tell whether a registry may be reached without a good certificate."""
        host = domain.rpartition(":")[0] if _has_port(domain) else domain
        if host == "localhost" or domain in self.insecure or host in self.insecure:
            return True
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        networks = [text for text in (*_LOOPBACK, *self.insecure) if "/" in text]
        return any(address in ipaddress.ip_network(text, strict=False) for text in networks)

    def _ca_file(self, domain: str) -> str:
        path = Path(self.certificates) / domain / "ca.crt"
        return str(path) if path.is_file() else ""


def read_hosts(path: Path) -> RegistryHosts:
    """Read a file in the form of dockerd's `daemon.json`; other settings in it are ignored.

    Raises:
        InvalidArgumentError: If it is no such file.
    """
    try:
        value: Any = json.loads(path.read_text())
        return RegistryHosts(
            insecure=tuple(_texts(value.get("insecure-registries"))),
            mirrors=tuple(_texts(value.get("registry-mirrors"))),
            certificates=str(value.get("certificates") or RegistryHosts.certificates),
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InvalidArgumentError(f"registry configuration {path}: {error}") from None


def _texts(value: Any) -> Sequence[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("a list of texts is expected")
    return value


def _has_port(domain: str) -> bool:
    return domain.rpartition(":")[2].isdecimal() and not domain.endswith("]")
