"""Ports of the host that the daemon holds, and the forwarding at those where it is needed."""

import socket
from collections.abc import Callable, Iterator

from flotilla_runtime_agent.network.daemon.state import HeldPort
from flotilla_runtime_agent.network.proxy import TcpProxy, UdpProxy


class Doors:
    """All held ports, by who owns them."""

    def __init__(self, on_idle: Callable[[], None]) -> None:
        """Hold none; ``on_idle`` is called when the last connection of a past time has ended."""
        self._doors: dict[tuple[str, str, int], _Door] = {}
        self._draining: set[TcpProxy] = set()
        self._on_idle = on_idle

    def __len__(self) -> int:
        """Return how many ports are held or still have connections of a time before."""
        return len(self._doors) + len(self._draining)

    def hold(self, held: HeldPort, bound: socket.socket) -> None:
        """Hold a port, from now on with this socket and target."""
        before = self._doors.pop(held.place, None)
        if before is not None:
            before.close()
        self._doors[held.place] = _Door(held, bound)

    def retarget(self, held: HeldPort) -> None:
        """Lead a held port to another target; one that is not held stays so."""
        before = self._doors.get(held.place)
        if before is not None and before.held.target != held.target:
            before.close_proxy()
            self._doors[held.place] = _Door(held, before.bound)

    def release(self, owner: str) -> None:
        """Give back all ports of an owner, with their connections."""
        for place, door in tuple(self._doors.items()):
            if door.held.owner == owner:
                del self._doors[place]
                door.close()

    def sockets(self) -> Iterator[tuple[HeldPort, socket.socket]]:
        """Yield each port with its socket."""
        for door in self._doors.values():
            yield door.held, door.bound

    def let_go(self) -> None:
        """Give all back, but go on with the connections that there are."""
        for door in self._doors.values():
            door.let_go()
            if isinstance(door.proxy, TcpProxy) and door.proxy.is_busy:
                self._draining.add(door.proxy)
                door.proxy.on_idle = self._drained(door.proxy)
        self._doors.clear()

    def close(self) -> None:
        """Close all."""
        for door in self._doors.values():
            door.close()
        for proxy in tuple(self._draining):
            proxy.close()

    def _drained(self, proxy: TcpProxy) -> Callable[[], None]:
        def drained() -> None:
            self._draining.discard(proxy)
            self._on_idle()

        return drained


class _Door:
    def __init__(self, held: HeldPort, bound: socket.socket) -> None:
        self.held = held
        self.bound = bound
        self.proxy: TcpProxy | UdpProxy | None = None
        if held.target is not None:
            target = (held.target[0], held.target[1])
            if bound.type == socket.SOCK_DGRAM:
                self.proxy = UdpProxy(bound, target)
            elif held.protocol == "tcp":
                self.proxy = TcpProxy(bound, target)

    def let_go(self) -> None:
        if isinstance(self.proxy, TcpProxy):
            self.proxy.stop_accepting()
        elif self.proxy is not None:
            self.proxy.close()
        self.bound.close()

    def close_proxy(self) -> None:
        if self.proxy is not None:
            self.proxy.close()

    def close(self) -> None:
        self.close_proxy()
        self.bound.close()
