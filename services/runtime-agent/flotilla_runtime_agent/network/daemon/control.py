"""The daemon's life, and what the agent has it do."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from flotilla_runtime_agent.network.daemon import channel
from flotilla_runtime_agent.network.daemon.channel import Document
from flotilla_runtime_agent.network.daemon.doors import Doors
from flotilla_runtime_agent.network.daemon.state import HeldPort, NetworkNames, Resolver
from flotilla_runtime_agent.network.dns.names import Names
from flotilla_runtime_agent.network.dns.servers import DnsServers

_ALONE_S = 30  # without an agent that ever came


def serve(path: str, version: str, ready: Callable[[], None]) -> None:
    """Serve at a path, until there is nothing to serve and no agent."""
    asyncio.run(_serve(path, version, ready))


async def _serve(path: str, version: str, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    control = Control(version)
    loop.add_signal_handler(signal.SIGTERM, control.ended.set)
    with channel.listening(path) as listener:
        loop.add_reader(listener, lambda: control.accept(listener))
        loop.call_later(_ALONE_S, control.end_if_idle)
        ready()
        await control.surrendered_or_ended()
        loop.remove_reader(listener)
    await control.ended.wait()
    control.close()


class Control:
    """Connections of agents, of which there is one at a time but for moments."""

    def __init__(self, version: str) -> None:
        """Serve nothing yet."""
        self.ended = asyncio.Event()
        self._version = version
        self._names = Names()
        self._dns = DnsServers(self._names)
        self._doors = Doors(self.end_if_idle)
        self._connections: set[socket.socket] = set()
        self._surrendered = asyncio.Event()
        self._operations: dict[str, Callable[[Document, list[int]], Document]] = {
            "hello": self._hello,
            "network": self._network,
            "forget": self._forget,
            "resolver": self._resolver,
            "drop": self._drop,
            "hold": self._hold,
            "retarget": self._retarget,
            "release": self._release,
        }

    async def surrendered_or_ended(self) -> None:
        """Wait until no agent is to connect any more."""
        waits = [asyncio.ensure_future(one.wait()) for one in (self._surrendered, self.ended)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def close(self) -> None:
        """Close all."""
        for connection in tuple(self._connections):
            self._drop_connection(connection)
        self._dns.close()
        self._doors.close()

    def end_if_idle(self) -> None:
        """End if there is no agent and nothing to serve."""
        if not self._connections and not len(self._dns) and not len(self._doors):
            self.ended.set()

    def accept(self, listener: socket.socket) -> None:
        """Accept an agent."""
        connection, _ = listener.accept()
        connection.settimeout(channel.TIMEOUT_S)
        self._connections.add(connection)
        receiver = channel.Receiver(connection)
        asyncio.get_running_loop().add_reader(
            connection, lambda: self._receive(connection, receiver)
        )

    def _receive(self, connection: socket.socket, receiver: channel.Receiver) -> None:
        try:
            alive = receiver.receive()
            for document, descriptors in receiver.frames():
                self._answer(connection, document, descriptors)
        except OSError:
            alive = False
        if not alive:
            self._drop_connection(connection)
            self.end_if_idle()

    def _drop_connection(self, connection: socket.socket) -> None:
        self._connections.discard(connection)
        asyncio.get_running_loop().remove_reader(connection)
        connection.close()

    def _answer(
        self, connection: socket.socket, document: Document, descriptors: list[int]
    ) -> None:
        operation = str(document.pop("do"))
        if operation == "surrender":
            for frame, sockets in self._surrender():
                channel.send(connection, frame, sockets)
            self._let_go()
            return
        try:
            answer = self._operations[operation](document, descriptors)
        except (OSError, KeyError, TypeError, ValueError) as error:
            answer = {"error": f"{operation}: {error!r}"}
        channel.send(connection, answer)

    # Operations

    def _hello(self, document: Document, descriptors: list[int]) -> Document:
        return {
            "version": self._version,
            "networks": self._names.ids(),
            "resolvers": self._dns.ids(),
            "ports": [[held.owner, *held.place] for held, _ in self._doors.sockets()],
            "pid": os.getpid(),
        }

    def _network(self, document: Document, descriptors: list[int]) -> Document:
        self._names.update(NetworkNames(**document))  # type: ignore[arg-type]
        return {}

    def _forget(self, document: Document, descriptors: list[int]) -> Document:
        self._names.remove(str(document["network_id"]))
        return {}

    def _resolver(self, document: Document, descriptors: list[int]) -> Document:
        resolver = Resolver(**document)  # type: ignore[arg-type]
        sockets = _sockets(descriptors)
        return {"known": self._dns.serve(resolver, *sockets)}

    def _drop(self, document: Document, descriptors: list[int]) -> Document:
        self._dns.stop(str(document["container_id"]))
        return {}

    def _hold(self, document: Document, descriptors: list[int]) -> Document:
        ports = cast("Sequence[Document]", document["ports"])
        for port, bound in zip(ports, _sockets(descriptors), strict=True):
            self._doors.hold(HeldPort(**port), bound)  # type: ignore[arg-type]
        return {}

    def _retarget(self, document: Document, descriptors: list[int]) -> Document:
        for port in cast("Sequence[Document]", document["ports"]):
            self._doors.retarget(HeldPort(**port))  # type: ignore[arg-type]
        return {}

    def _release(self, document: Document, descriptors: list[int]) -> Document:
        self._doors.release(str(document["owner"]))
        return {}

    # Giving way to a daemon of another version

    def _surrender(self) -> Iterator[tuple[Document, list[int]]]:
        """Yield all sockets, for the next daemon; a frame without any is the last one."""
        for container_id, sockets in self._dns.sockets():
            yield {"resolver": container_id}, [one.fileno() for one in sockets]
        for port, bound in self._doors.sockets():
            yield {"port": list(port.place), "owner": port.owner}, [bound.fileno()]
        yield {}, []

    def _let_go(self) -> None:
        """Serve no more but the connections that there are; end with them."""
        self._dns.close()
        self._doors.let_go()
        self._surrendered.set()


def _sockets(descriptors: Sequence[int]) -> list[socket.socket]:
    made = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for one in made:
        one.setblocking(False)
    return made
