"""The agent's side of the network daemon: finds, starts, replaces and fills it."""

import contextlib
import hashlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import cast

from flotilla_runtime_agent.network.daemon import channel
from flotilla_runtime_agent.network.daemon.channel import Document
from flotilla_runtime_agent.network.daemon.state import HeldPort, NetworkNames, Resolver

_LOG = logging.getLogger(__name__)

_PACKAGES = Path(__file__).parents[3]
_SOURCES = ("daemon/*.py", "dns/*.py", "proxy.py", "netlink/sockets.py", "netlink/messages.py")
_SOCKET = "network.sock"
_LOG_FILE = "network-daemon.log"
_PEER = struct.Struct("=iII")  # pid, uid, gid

Place = tuple[str, str, int]
ResolverSockets = tuple[socket.socket, socket.socket]


@dataclass
class _Spare:
    """Sockets that the daemon is to get: of the one before, or just bound by the agent."""

    resolvers: dict[str, list[int]] = field(default_factory=dict)
    ports: dict[Place, int] = field(default_factory=dict)

    def close(self) -> None:
        for descriptors in (*self.resolvers.values(), [*self.ports.values()]):
            for descriptor in descriptors:
                os.close(descriptor)


class NetworkDaemon:
    """One daemon, and what it is to serve. Methods block briefly; for one thread at a time.

    A daemon that is lost is started anew, with all that it had.

    Args:
        folder: Where its socket and its log are.
        resolver_sockets: Makes the sockets of a DNS server in a network namespace.
        port_socket: Binds a port of the host; None where the kernel has no such protocol.
        version: Of the daemon that is wanted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        resolver_sockets: Callable[[str], ResolverSockets],
        port_socket: Callable[[str, str, int], socket.socket | None],
        version: str = "",
    ) -> None:
        """Touch nothing yet; ``open`` does."""
        self._folder = folder
        self._resolver_sockets = resolver_sockets
        self._port_socket = port_socket
        self._version = version or source_version()
        self._networks: dict[str, NetworkNames] = {}
        self._resolvers: dict[str, Resolver] = {}
        self._ports: dict[str, dict[Place, HeldPort]] = {}
        self._connection: socket.socket | None = None
        self.pid = 0

    def open(
        self,
        networks: Sequence[NetworkNames],
        resolvers: Sequence[Resolver],
        ports: Sequence[HeldPort],
    ) -> None:
        """Have a daemon of our version that serves this and nothing else."""
        self._networks = {one.network_id: one for one in networks}
        self._resolvers = {one.container_id: one for one in resolvers}
        for port in ports:
            self._ports.setdefault(port.owner, {})[port.place] = port
        self._have_daemon({})

    def close(self) -> None:
        """Leave the daemon alone, which goes on if it has anything to serve."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def check(self) -> None:
        """Start the daemon anew if it is gone."""
        self._do({"do": "hello"})

    def name(self, names: NetworkNames) -> None:
        """Have a network's names answered from now on."""
        self._networks[names.network_id] = names
        self._do({"do": "network", **asdict(names)})

    def forget(self, network_id: str) -> None:
        """Forget a network's names; safe to repeat."""
        if self._networks.pop(network_id, None) is not None:
            self._do({"do": "forget", "network_id": network_id})

    def resolve(self, resolver: Resolver) -> None:
        """Serve a sandbox, from now on as told."""
        if self._resolvers.get(resolver.container_id) == resolver:
            return
        self._resolvers[resolver.container_id] = resolver
        self._retried(lambda: self._give_resolver(resolver, None))

    def drop(self, container_id: str) -> None:
        """Serve a sandbox no more; safe to repeat."""
        if self._resolvers.pop(container_id, None) is not None:
            self._do({"do": "drop", "container_id": container_id})

    def hold(self, ports: Sequence[HeldPort], bound: Mapping[Place, socket.socket]) -> None:
        """Hold an owner's ports; those that are not held yet come with their sockets."""
        for port in ports:
            self._ports.setdefault(port.owner, {})[port.place] = port
        sockets = {place: one.fileno() for place, one in bound.items()}
        self._retried(lambda: self._give_ports(ports, sockets), sockets)

    def release(self, owner: str) -> None:
        """Give back all ports of an owner; safe to repeat."""
        if self._ports.pop(owner, None) is not None:
            self._do({"do": "release", "owner": owner})

    # One exchange

    def _do(self, document: Document) -> None:
        self._retried(lambda: self._ask(document))

    def _retried(
        self, ask: Callable[[], object], sockets: Mapping[Place, int] | None = None
    ) -> None:
        """Ask; if the daemon is lost, have another one, which is given all, this included."""
        try:
            ask()
        except (OSError, ValueError) as error:
            _LOG.warning("the network daemon is lost (%s); starting it anew", error)
            self._have_daemon(sockets or {})

    def _ask(self, document: Document, descriptors: Sequence[int] = ()) -> Document:
        """Return the daemon's answer.

        Raises:
            OSError: If there is none.
        """
        if self._connection is None:
            raise ConnectionResetError("not connected")
        channel.send(self._connection, document, descriptors)
        answer, _ = channel.Receiver(self._connection).next_frame()
        if "error" in answer:
            raise OSError(f"network daemon: {answer['error']}")
        return answer

    # Giving

    def _give_resolver(self, resolver: Resolver, sockets: list[int] | None) -> None:
        document: Document = {"do": "resolver", **asdict(resolver)}
        if sockets is not None:
            self._ask(document, sockets)
        elif not self._ask(dict(document))["known"]:
            made = self._resolver_sockets(resolver.key)
            try:
                self._ask(document, [one.fileno() for one in made])
            finally:
                for one in made:
                    one.close()

    def _give_ports(self, ports: Sequence[HeldPort], sockets: Mapping[Place, int]) -> None:
        known = [asdict(port) for port in ports if port.place not in sockets]
        if known:
            self._ask({"do": "retarget", "ports": known})
        new = [port for port in ports if port.place in sockets]
        for start in range(0, len(new), channel.MAX_DESCRIPTORS):
            some = new[start : start + channel.MAX_DESCRIPTORS]
            document: Document = {"do": "hold", "ports": [asdict(port) for port in some]}
            self._ask(document, [sockets[port.place] for port in some])

    # Having a daemon

    def _have_daemon(self, bound: Mapping[Place, int]) -> None:
        """Find or start a daemon and fill it; sockets just bound remain the caller's."""
        spare = _Spare()
        try:
            hello = self._found(spare)
            if hello is None:
                self._start()
                self._connection = channel.connected(str(self._folder / _SOCKET))
                hello = self._ask({"do": "hello"})
            self.pid = cast("int", hello["pid"])
            self._fill(hello, spare, bound)
        finally:
            spare.close()

    def _found(self, spare: _Spare) -> Document | None:
        """Connect to the daemon that runs, if it is of our version; else take its sockets."""
        self.close()
        try:
            self._connection = channel.connected(str(self._folder / _SOCKET))
        except OSError:
            return None
        try:
            hello = self._ask({"do": "hello"})
            if hello["version"] == self._version:
                return hello
            self._take_over(spare)
        except (OSError, KeyError, ValueError) as error:
            _LOG.warning("the network daemon that runs is of no use (%s)", error)
            self._end_daemon()
        self.close()
        return None

    def _take_over(self, spare: _Spare) -> None:
        assert self._connection is not None
        channel.send(self._connection, {"do": "surrender"})
        receiver = channel.Receiver(self._connection)
        while True:
            document, descriptors = receiver.next_frame()
            if not descriptors:
                return
            if "resolver" in document:
                spare.resolvers[str(document["resolver"])] = descriptors
            else:
                protocol, host, port = cast("list[str | int]", document["port"])
                spare.ports[(str(protocol), str(host), int(port))] = descriptors[0]

    def _end_daemon(self) -> None:
        assert self._connection is not None
        said = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        with contextlib.suppress(ProcessLookupError):
            os.kill(_PEER.unpack(said)[0], signal.SIGKILL)

    def _start(self) -> None:
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        module = "flotilla_runtime_agent.network.daemon"
        command = [sys.executable, "-S", "-P", "-m", module]
        with (self._folder / _LOG_FILE).open("ab") as log:
            subprocess.run(
                [*command, str(self._folder / _SOCKET), self._version],
                check=True,
                timeout=channel.TIMEOUT_S,
                cwd="/",
                env={"PYTHONPATH": str(_PACKAGES), "PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _fill(self, hello: Document, spare: _Spare, bound: Mapping[Place, int]) -> None:
        """Make the daemon serve what it is to serve, and nothing else."""
        for network_id in set(cast("list[str]", hello["networks"])) - self._networks.keys():
            self._ask({"do": "forget", "network_id": network_id})
        for container_id in set(cast("list[str]", hello["resolvers"])) - self._resolvers.keys():
            self._ask({"do": "drop", "container_id": container_id})
        held = {tuple(place) for _, *place in cast("list[list[object]]", hello["ports"])}
        owners = {str(owner) for owner, *_ in cast("list[list[object]]", hello["ports"])}
        for owner in owners - self._ports.keys():
            self._ask({"do": "release", "owner": owner})
        for names in self._networks.values():
            self._ask({"do": "network", **asdict(names)})
        for resolver in self._resolvers.values():
            self._give_resolver(resolver, spare.resolvers.get(resolver.container_id))
        for ports in self._ports.values():
            missing = [port for port in ports.values() if port.place not in held]
            self._bind_and_give(missing, {**spare.ports, **bound})

    def _bind_and_give(self, ports: Sequence[HeldPort], sockets: Mapping[Place, int]) -> None:
        with contextlib.ExitStack() as stack:
            having = {port.place: sockets[port.place] for port in ports if port.place in sockets}
            for port in ports:
                if port.place in having:
                    continue
                try:
                    made = self._port_socket(*port.place)
                except OSError as error:
                    _LOG.warning("port %s cannot be held: %s", port.place, error)
                    continue
                if made is not None:
                    having[port.place] = stack.enter_context(made).fileno()
            self._give_ports([port for port in ports if port.place in having], having)


@cache
def source_version() -> str:
    """Return what the daemon's source is, so that a daemon of another one gives way."""
    digest = hashlib.sha256(sys.version.encode())
    folder = Path(__file__).parents[1]
    for pattern in _SOURCES:
        for path in sorted(folder.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
