"""Twin of ``network/tunnel.py`` and ``wireguard.py``: encrypted networks across two hosts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from tests.runtime_agent.network.conftest import (
    DEADLINE_S,
    HOST_ADDRESS,
    OUTSIDE_ADDRESS,
    Node,
    Place,
    main_thread_inside,
)

from flotilla_core.errors import InternalError
from flotilla_core.ids import new_node_id
from flotilla_engine.records import NetworkNode, NetworkState
from flotilla_runtime_agent.network.networks import NodeNetworks
from flotilla_runtime_agent.network.tunnel import TunnelSettings, tunnel_address
from flotilla_testing.captures import Capture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

needs_wireguard = pytest.mark.skipif(
    not (shutil.which("wg") and shutil.which("wireguard-go") and Path("/dev/net/tun").exists()),
    reason="needs WireGuard",
)
MARKER = b"this is not for everybody's eyes"
VNI = 4242
NO_TABLE = "add table inet flotilla; delete table inet flotilla"


@dataclass
class Pair:
    """Two hosts, and an encrypted network that both are told of."""

    here: Node
    there: Node
    ids: tuple[str, str]
    folders: tuple[Path, Path]
    state: NetworkState
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(2))

    def interface(self, side: int) -> str:
        return f"fw-{self.ids[side][:12]}"

    async def tell(self) -> None:
        self.state.revision += 1
        for node in (self.here, self.there):
            await node.networks.apply(self.state.model_copy(deep=True))

    async def start(self, side: int, name: str) -> tuple[Place, str, str]:
        """Start a container in the network; returns its place, address and id."""
        node = (self.here, self.there)[side]
        address = f"172.30.0.{next(self.numbers)}"
        container_id = node.next_id()
        endpoint = node.endpoint_of(
            self.state, container_id, name, f"{address}/24", node_id=self.ids[side]
        )
        await self.tell()
        place, _, _ = await node.run(name, endpoints=[endpoint])
        return place, address, container_id


def networks_of(folder: Path, node_id: str, address: str, *, port: int = 51878) -> NodeNetworks:
    return NodeNetworks(
        folder / "network",
        folder / "run",
        node_id=node_id,
        address=address,
        tunnel=TunnelSettings(port),
    )


@pytest_asyncio.fixture
async def pair(host: tuple[Place, Place], tmp_path: Path) -> AsyncIterator[Pair]:
    here, outside = host
    ids = new_node_id(), new_node_id()
    folders = tmp_path / "one", tmp_path / "two"
    nodes = []
    for side, (place, other, address) in enumerate(
        ((here, outside, HOST_ADDRESS), (outside, here, OUTSIDE_ADDRESS))
    ):
        folders[side].mkdir()
        with main_thread_inside(place.path):
            networks = networks_of(folders[side], ids[side], address)
            await networks.start([])
        nodes.append(Node(networks, place, other))
    nodes[1].numbers = itertools.count(1000)
    told = [
        NetworkNode(id=node_id, name=node_id, address=address, tunnel=node.networks.encryption()[0])
        for node, node_id, address in zip(nodes, ids, (HOST_ADDRESS, OUTSIDE_ADDRESS), strict=True)
    ]
    state = nodes[0].network_state(
        "secret", "172.30.0.0/24", vni=VNI, nodes=told, options={"encrypted": ""}
    )
    made = Pair(nodes[0], nodes[1], ids, folders, state)
    try:
        yield made
    finally:
        for node in nodes:
            for container_id in node.joined:
                await node.networks.detach(container_id)
            await node.networks.remove_network(state.network.id)
            await node.close()


def daemon(interface: str) -> int | None:
    """Return the wireguard-go of an interface."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"/wireguard-go") and words[1] == interface.encode():
                return int(folder.name)
    return None


def is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


@needs_wireguard
async def test_traffic_between_hosts_is_encrypted(pair: Pair) -> None:
    web, _, _ = await pair.start(0, "web")
    api, address, _ = await pair.start(1, "api")
    api.serve(MARKER * (3 << 15), 80)
    packets = pair.here.host.make_socket(socket.AF_PACKET, socket.SOCK_RAW)
    with Capture(packets, "up0", MARKER) as capture:
        answer = await asyncio.to_thread(web.fetch, address, 80)
    assert answer.count(MARKER) == 3 << 15
    assert capture.frames > 1000
    assert not capture.has_marker
    assert capture.udp_ports == {51878}
    assert "mtu 1350" in web.command("ip", "link", "show", "eth0")
    key = pair.folders[0] / "network/wireguard.key"
    assert key.stat().st_mode & 0o777 == 0o600


@needs_wireguard
async def test_largest_packets_pass_unfragmented(pair: Pair) -> None:
    web, _, _ = await pair.start(0, "web")
    api, address, _ = await pair.start(1, "api")
    api.serve_udp(7)
    with web.make_socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        client.connect((address, 7))
        client.send(bytes(1350 - 28))
        assert len(await asyncio.to_thread(client.recv, 2000)) == 1350 - 28
        with pytest.raises(OSError, match="Message too long"):
            client.send(bytes(1350 - 27))


@needs_wireguard
async def test_next_agent_takes_over_without_interruption(pair: Pair) -> None:
    web, _, _ = await pair.start(0, "web")
    api, address, _ = await pair.start(1, "api")
    api.serve(MARKER, 80)
    await asyncio.to_thread(web.fetch, address, 80)
    before = daemon(pair.interface(0))
    await pair.here.networks.close()
    assert await asyncio.to_thread(web.fetch, address, 80)  # nobody is needed
    pair.here.networks = networks_of(pair.folders[0], pair.ids[0], HOST_ADDRESS)
    shown = pair.here.host.command("wg", "show", pair.interface(0), "latest-handshakes")
    await pair.here.networks.start(list(pair.here.joined.values()))
    await asyncio.to_thread(web.fetch, address, 80)
    assert daemon(pair.interface(0)) == before
    assert pair.here.host.command("wg", "show", pair.interface(0), "latest-handshakes") == shown


@needs_wireguard
@pytest.mark.parametrize("how", ["process", "interface"])
async def test_lost_tunnel_is_made_again(pair: Pair, how: str) -> None:
    web, _, _ = await pair.start(0, "web")
    api, address, _ = await pair.start(1, "api")
    api.serve(MARKER, 80)
    await asyncio.to_thread(web.fetch, address, 80)
    served = daemon(pair.interface(0))
    if how == "process" and served is not None:
        os.kill(served, signal.SIGKILL)
    else:
        pair.here.host.command("ip", "link", "del", pair.interface(0))
    async with asyncio.timeout(DEADLINE_S):
        while not await pair.here.networks.repair():  # noqa: ASYNC110 - no event of ours
            await asyncio.sleep(0.05)  # the process is still dying
    assert await asyncio.to_thread(web.fetch, address, 80)


@needs_wireguard
async def test_new_key_of_a_node_is_taken_over(pair: Pair) -> None:
    web, _, _ = await pair.start(0, "web")
    api, address, _ = await pair.start(1, "api")
    api.serve(MARKER, 80)
    await asyncio.to_thread(web.fetch, address, 80)
    await pair.there.networks.close()
    (pair.folders[1] / "network/wireguard.key").unlink()
    pair.there.networks = networks_of(pair.folders[1], pair.ids[1], OUTSIDE_ADDRESS)
    with main_thread_inside(pair.there.host.path):
        await pair.there.networks.start(list(pair.there.joined.values()))
    new, _ = pair.there.networks.encryption()
    assert new != pair.state.nodes[1].tunnel
    pair.state.nodes[1].tunnel = new
    await pair.tell()
    assert await asyncio.to_thread(web.fetch, address, 80)


@needs_wireguard
async def test_attaching_does_not_hide_a_lost_tunnel(pair: Pair) -> None:
    web, _, _ = await pair.start(0, "web")
    api, address, _ = await pair.start(1, "api")
    api.serve(MARKER, 80)
    pair.here.host.command("ip", "link", "del", pair.interface(0))
    container_id = pair.here.next_id()
    endpoint = pair.here.endpoint_of(
        pair.state, container_id, "next", "172.30.0.9/24", node_id=pair.ids[0]
    )
    await pair.here.run("next", endpoints=[endpoint])  # makes the interface again
    await pair.here.networks.repair()
    assert await asyncio.to_thread(web.fetch, address, 80)


@needs_wireguard
async def test_node_that_left_is_no_peer_any_more(pair: Pair) -> None:
    await pair.start(0, "web")
    await pair.start(1, "api")
    peers = ("wg", "show", pair.interface(0), "peers")
    other, _ = pair.there.networks.encryption()
    assert other is not None
    assert pair.here.host.command(*peers).split() == [other.public_key]
    del pair.state.nodes[1], pair.state.endpoints[1]
    await pair.tell()
    assert pair.here.host.command(*peers) == ""


@needs_wireguard
async def test_nothing_is_left_of_the_last_network(pair: Pair) -> None:
    _, _, container_id = await pair.start(0, "web")
    interface = pair.interface(0)
    assert interface in pair.here.host.command("ip", "link")
    await pair.here.networks.detach(container_id)
    await pair.here.networks.remove_network(pair.state.network.id)
    assert interface not in pair.here.host.command("ip", "link")
    assert daemon(interface) is None
    assert not is_there(Path("/run/wireguard", f"{interface}.sock"))
    assert not is_there(pair.folders[0] / "run/wireguard.sock")


@needs_wireguard
async def test_packets_from_outside_of_the_tunnel_are_dropped(pair: Pair) -> None:
    web, address, _ = await pair.start(0, "web")
    api, _, _ = await pair.start(1, "api")
    mac = pair.state.endpoints[0].mac_address
    reader = web.make_socket(socket.AF_INET, socket.SOCK_DGRAM)
    reader.bind(("0.0.0.0", 9))
    honest = api.make_socket(socket.AF_INET, socket.SOCK_DGRAM)
    tunnel = str(tunnel_address(TunnelSettings().subnet, pair.ids[0]).ip)
    past_the_tunnel = (f"{tunnel}/128", "via", "fd99::1")
    pair.here.outside.command("ip", "-6", "route", "add", *past_the_tunnel)
    forged = vxlan_packet(mac, "172.30.0.3", address, b"forged")
    for target in ("fd99::1", tunnel):
        forge(pair.here.outside, forged, target)
    pair.here.outside.command("ip", "-6", "route", "del", *past_the_tunnel)
    honest.sendto(b"honest", (address, 9))
    assert await asyncio.to_thread(reader.recv, 100) == b"honest"
    # Without the firewall it would have come: the packet is what a node would send.
    for _ in range(DEADLINE_S):
        pair.here.host.command("nft", NO_TABLE)
        forge(pair.here.outside, forged, "fd99::1")
        reader.settimeout(1)
        with contextlib.suppress(TimeoutError):
            assert await asyncio.to_thread(reader.recv, 100) == b"forged"
            break
        await pair.here.networks.repair()
    else:
        pytest.fail("the forged packet is not what it should be")


def forge(place: Place, packet: bytes, target: str) -> None:
    """Send a packet that the place's own firewall would not let out."""
    with place.make_socket(socket.AF_INET6, socket.SOCK_DGRAM) as forger:
        for _ in range(100):
            place.command("nft", NO_TABLE)
            with contextlib.suppress(PermissionError):  # the table was made again meanwhile
                forger.sendto(packet, (target, 4788))
                return
    pytest.fail("the packet could not be sent")


def vxlan_packet(mac: str, source: str, target: str, payload: bytes) -> bytes:
    """Return a VXLAN packet with a datagram to port 9."""
    udp = struct.pack("!HHHH", 9, 9, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    frame = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("0242ac1e0003") + b"\x08\x00"
    return struct.pack("!II", 0x08000000, VNI << 8) + frame + head + udp


async def test_node_that_cannot_encrypt_refuses(host: tuple[Place, Place], tmp_path: Path) -> None:
    node_id = new_node_id()
    networks = networks_of(tmp_path, node_id, HOST_ADDRESS, port=0)
    await networks.start([])
    node = Node(networks, *host)
    try:
        assert networks.encryption() == (None, "switched off")
        state = node.network_state(
            "secret",
            "172.30.0.0/24",
            vni=VNI,
            nodes=[NetworkNode(id=node_id, name="here", address=HOST_ADDRESS)],
            options={"encrypted": ""},
        )
        endpoint = node.endpoint_of(state, "c" * 64, "web", "172.30.0.2/24", node_id=node_id)
        await networks.apply(state)
        refusal = (
            "failed to create endpoint web on network secret: "
            "this node cannot encrypt: switched off"
        )
        with pytest.raises(InternalError, match=refusal):
            await node.run("web", endpoints=[endpoint])
        assert "fl-" not in node.host.command("ip", "link")
    finally:
        await node.close()


def test_addresses_follow_from_the_node() -> None:
    one = tunnel_address("fd00:1::/64", "a" * 25)
    assert one == tunnel_address("fd00:1::/64", "a" * 25)
    assert str(one).startswith("fd00:1::")
    assert one != tunnel_address("fd00:1::/64", "b" * 25)


@needs_wireguard
async def test_taken_port_is_named_and_can_be_had_later(pair: Pair) -> None:
    taken = pair.here.host.make_socket(socket.AF_INET6, socket.SOCK_DGRAM)
    taken.bind(("::", 51878))
    with pytest.raises(InternalError, match=r"on network secret: .*Address already in use"):
        await pair.start(0, "web")
    taken.close()
    pair.state.endpoints.clear()
    web, _, _ = await pair.start(0, "web")
    api, address, _ = await pair.start(1, "api")
    api.serve(MARKER, 80)
    assert await asyncio.to_thread(web.fetch, address, 80)
