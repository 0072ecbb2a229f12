"""Keeps the gateway's own ports equal to what is published in the fleet."""

import asyncio
import logging
import socket
from collections.abc import Sequence

from flotilla_core.errors import FlotillaError
from flotilla_gateway.catalogue.containers import Containers
from flotilla_gateway.domain.nodes import Nodes
from flotilla_gateway.ingress.targets import Published, Target, published
from flotilla_gateway.ingress.tcp import TcpPort
from flotilla_gateway.ingress.udp import UdpPort

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
_SETTLE_S = 0.02


class Ingress:
    """Opens and closes ports as containers come and go."""

    def __init__(self, containers: Containers, nodes: Nodes, host: str = "") -> None:
        self._containers = containers
        self._nodes = nodes
        self._hosts: Sequence[str] | None = [host] if host else None
        self._ports: dict[Published, TcpPort | UdpPort] = {}
        self._refused: set[Published] = set()
        self._changed = asyncio.Event()

    def wake(self, publishes: bool) -> None:
        """Look again, soon, if a change can matter: it publishes ports, or some are open."""
        if publishes or self._ports:
            self._changed.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            while True:
                self._changed.clear()
                try:
                    await self._refresh()
                except FlotillaError as error:
                    log.warning("published ports are not looked for: %s", error)
                except Exception:
                    log.exception("looking for published ports failed")
                try:
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        await self._changed.wait()
                except TimeoutError:
                    continue
                await asyncio.sleep(_SETTLE_S)
        finally:
            for port in self._ports.values():
                await port.close()

    async def _refresh(self) -> None:
        addresses = {
            node.id: node.info.node.address
            for node in (await self._nodes.known()).values()
            if self._nodes.silent_s(node) is None and not _is_here(node.info.node.address)
        }
        records = [entry.record for entry in await self._containers.all() if entry.record]
        wanted = published(records, addresses) if addresses else {}
        for port in set(self._ports) - set(wanted):
            await self._ports.pop(port).close()
        self._refused &= set(wanted)
        for port, targets in wanted.items():
            if port in self._ports:
                self._ports[port].targets = targets
            else:
                await self._open(port, targets)

    async def _open(self, port: Published, targets: Sequence[Target]) -> None:
        opened = TcpPort(targets) if port.protocol == "tcp" else UdpPort(targets)
        try:
            await opened.open(self._hosts, port.port)
        except OSError as error:
            if port not in self._refused:
                self._refused.add(port)
                log.warning(
                    "port %d/%s, published by container %s on %s, is not served at the gateway's "
                    "address: %s",
                    port.port,
                    port.protocol,
                    targets[0].container,
                    targets[0].address,
                    error.strerror or error,
                )
            return
        self._refused.discard(port)
        self._ports[port] = opened


def _is_here(address: str) -> bool:
    """Return whether an address is this host's own: what is published there answers already."""
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
