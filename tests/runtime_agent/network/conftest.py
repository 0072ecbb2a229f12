"""A host of its own for each test: a network namespace with a neighbour outside."""

import contextlib
import ipaddress
import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from flotilla_engine.host_config import HostConfig, PortBinding
from flotilla_engine.networking import EndpointSettings, Ipam, IpamConfig
from flotilla_engine.records import EndpointRecord, NetworkNode, NetworkRecord, NetworkState
from flotilla_runtime_agent.network import namespaces
from flotilla_runtime_agent.network.netlink.links import VethKind
from flotilla_runtime_agent.network.netlink.route import RouteSocket
from flotilla_runtime_agent.network.netlink.sockets import call_inside, set_namespace
from flotilla_runtime_agent.network.networks import NodeNetworks
from flotilla_runtime_agent.ports import Attachment, Joining, Sandbox

T = TypeVar("T")

NODE = "n" * 25
OTHER_NODE = "o" * 25
HOST_ADDRESS = "10.99.0.1"
OUTSIDE_ADDRESS = "10.99.0.2"
DEADLINE_S = 30
_DAEMON = "flotilla_runtime_agent.network.daemon"


@dataclass
class Place:
    """A network namespace that a test acts in."""

    path: Path
    sockets: list[socket.socket] = field(default_factory=list)

    def run(self, function: Callable[[], T]) -> T:
        descriptor = namespaces.opened(self.path)
        try:
            return call_inside(descriptor, function)
        finally:
            os.close(descriptor)

    def command(self, *words: str) -> str:
        """Run a program here and return what it prints."""
        done = self.run(
            lambda: subprocess.run(words, check=True, capture_output=True, text=True, timeout=30)
        )
        return done.stdout

    def make_socket(self, family: int, kind: int) -> socket.socket:
        made = self.run(lambda: socket.socket(family, kind))
        made.settimeout(DEADLINE_S)
        self.sockets.append(made)
        return made

    def serve(self, answer: bytes, port: int, *, address: str = "0.0.0.0") -> None:
        """Answer every TCP connection with who asks and a few bytes."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = self.make_socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(16)
        listener.settimeout(None)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, peer = listener.accept()
                    with connection:
                        connection.sendall(answer + b" " + str(peer[0]).encode())

        threading.Thread(target=accept, daemon=True).start()

    def serve_udp(self, port: int) -> None:
        """Send each datagram back."""
        bound = self.make_socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("0.0.0.0", port))
        bound.settimeout(None)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    data, peer = bound.recvfrom(65535)
                    if peer is None:  # shut down
                        return
                    bound.sendto(data, peer)

        threading.Thread(target=answer, daemon=True).start()

    def fetch(self, address: str, port: int, *, timeout_s: float = DEADLINE_S) -> bytes:
        """Return what a TCP server says."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.make_socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect((address, port))
            data = b""
            while more := connection.recv(4096):
                data += more
            return data

    def cannot_reach(self, address: str, port: int) -> bool:
        try:
            self.fetch(address, port, timeout_s=0.4)
        except (TimeoutError, OSError):
            return True
        return False

    def close(self) -> None:
        for made in self.sockets:
            with contextlib.suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)
            made.close()


@dataclass
class Node:
    """The agent's networks on a host of their own, and containers without processes."""

    networks: NodeNetworks
    host: Place
    outside: Place
    places: list[Place] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    joined: dict[str, tuple[Joining, Sandbox]] = field(default_factory=dict)

    def next_id(self) -> str:
        return f"{next(self.numbers):012x}".ljust(64, "c")

    async def run(
        self,
        name: str,
        *,
        ports: dict[str, list[PortBinding] | None] | None = None,
        endpoints: list[EndpointRecord] | None = None,
        host_config: HostConfig | None = None,
    ) -> tuple[Place, Attachment, str]:
        container_id = endpoints[0].container_id if endpoints else self.next_id()
        config = host_config or HostConfig()
        config.port_bindings = ports or {}
        joining = Joining(
            container_id=container_id,
            name=name,
            hostname=container_id[:12],
            domainname="",
            host_config=config,
            exposed_ports=list(ports or {}),
            endpoints=endpoints or [default_endpoint(container_id, name)],
        )
        sandbox = await self.networks.create_sandbox(container_id)
        self.joined[container_id] = (joining, sandbox)
        attachment = await self.networks.attach(joining, sandbox)
        self.attachments.append(attachment)
        place = Place(sandbox.key)
        self.places.append(place)
        return place, attachment, container_id

    async def close(self) -> None:
        for place in self.places:
            place.close()
        for container_id in self.joined:
            await self.networks.detach(container_id)
        await self.networks.close()

    def network_state(
        self,
        name: str,
        subnet: str,
        *,
        revision: int = 1,
        internal: bool = False,
        vni: int = 0,
        nodes: list[NetworkNode] | None = None,
        options: dict[str, str] | None = None,
    ) -> NetworkState:
        network = ipaddress.ip_network(subnet)
        return NetworkState(
            network=NetworkRecord(
                id=name.encode().hex().ljust(64, "0"),
                name=name,
                created=datetime.now(UTC),
                internal=internal,
                enable_ipv6=network.version == 6,
                ipam=Ipam(config=[IpamConfig(subnet=subnet, gateway=str(network[1]))]),
                options=options or {},
                vni=vni,
            ),
            revision=revision,
            nodes=nodes or [NetworkNode(id=NODE, name="here", address=HOST_ADDRESS)],
        )

    def endpoint_of(
        self,
        state: NetworkState,
        container_id: str,
        name: str,
        address: str,
        *,
        aliases: list[str] | None = None,
        node_id: str = NODE,
        links: list[str] | None = None,
    ) -> EndpointRecord:
        interface = ipaddress.ip_interface(address)
        endpoint = EndpointRecord(
            id=f"{container_id[-8:]}".ljust(64, "e"),
            network_id=state.network.id,
            network_name=state.network.name,
            container_id=container_id,
            container_name=name,
            node_id=node_id,
            mac_address="02:42:" + interface.ip.packed[-4:].hex(":"),
            ipv4_address=address if interface.version == 4 else "",
            ipv6_address=address if interface.version == 6 else "",
            names=[name, container_id[:12], *(aliases or [])],
            running=True,
            settings=EndpointSettings(links=links or []),
        )
        state.endpoints.append(endpoint)
        return endpoint


def default_endpoint(container_id: str, name: str) -> EndpointRecord:
    return EndpointRecord(
        id="e" * 64,
        network_id="b" * 64,
        network_name="bridge",
        container_id=container_id,
        container_name=name,
        node_id=NODE,
        running=True,
    )


@contextlib.contextmanager
def main_thread_inside(path: Path) -> Iterator[None]:
    """Move this thread, and all threads that it starts, into a namespace."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    descriptor = namespaces.opened(path)
    try:
        set_namespace(descriptor)
        yield
    finally:
        set_namespace(home)
        os.close(descriptor)
        os.close(home)


def daemons(folder: Path) -> list[int]:
    """Return the network daemons that have their socket below a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
        except OSError:
            continue
        if _DAEMON in words and any(word.startswith(f"{folder}/") for word in words):
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    """A host with an uplink to a neighbour, as namespaces; this thread is on the host."""
    if os.geteuid() != 0 or shutil.which("nft") is None:
        pytest.skip("needs root and nft")
    inner, outer = tmp_path / "host", tmp_path / "outside"
    namespaces.create(inner)
    namespaces.create(outer)
    outside = Place(outer)
    try:
        with main_thread_inside(inner):
            _join(outer)
            yield Place(inner), outside
    finally:
        for pid in daemons(tmp_path):
            os.kill(pid, signal.SIGKILL)
        outside.close()
        namespaces.remove(inner)
        namespaces.remove(outer)


def _join(outer: Path) -> None:
    descriptor = namespaces.opened(outer)
    has_ipv6 = ("net/ipv6/conf/default/disable_ipv6", "0")
    namespaces.write_sysctl(*has_ipv6)
    call_inside(descriptor, lambda: namespaces.write_sysctl(*has_ipv6))
    try:
        with RouteSocket() as route, RouteSocket(descriptor) as there:
            route.add_link("up0", VethKind("eth0", descriptor))
            here, peer = route.link("up0").index, there.link("eth0").index
            route.add_address(here, ipaddress.ip_interface(f"{HOST_ADDRESS}/24"))
            route.add_address(here, ipaddress.ip_interface("fd99::1/64"))
            there.add_address(peer, ipaddress.ip_interface(f"{OUTSIDE_ADDRESS}/24"))
            there.add_address(peer, ipaddress.ip_interface("fd99::2/64"))
            there.change_link(peer, up=True)
            route.add_route(None, gateway=ipaddress.ip_address(OUTSIDE_ADDRESS))
    finally:
        os.close(descriptor)


@pytest_asyncio.fixture
async def node(host: tuple[Place, Place], tmp_path: Path) -> AsyncIterator[Node]:
    """A started node without containers; everything of it is gone afterwards."""
    networks = NodeNetworks(
        tmp_path / "network", tmp_path / "run", node_id=NODE, address=HOST_ADDRESS
    )
    await networks.start([])
    made = Node(networks, *host)
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture
async def other_node(host: tuple[Place, Place], tmp_path: Path) -> AsyncIterator[Node]:
    """A second node: the neighbour outside."""
    here, outside = host
    networks = NodeNetworks(
        tmp_path / "network2", tmp_path / "run2", node_id=OTHER_NODE, address=OUTSIDE_ADDRESS
    )
    with main_thread_inside(outside.path):
        await networks.start([])
    made = Node(networks, outside, here)
    made.numbers = itertools.count(1000)
    try:
        yield made
    finally:
        await made.close()
