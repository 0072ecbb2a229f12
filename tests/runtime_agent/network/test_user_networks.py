"""Twin of ``network/networks.py``: user networks, on one host and across two."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from flotilla_engine.host_config import HostConfig, PortBinding
from flotilla_engine.records import NetworkNode
from flotilla_runtime_agent.network.networks import NodeNetworks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.runtime_agent.network.conftest import Node, Place

    from flotilla_engine.records import NetworkState

OUTSIDE = "10.99.0.2"
HOST = "10.99.0.1"
HERE, THERE = "n" * 25, "o" * 25
A, PTR, AAAA = 1, 12, 28


def question(name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
    return (
        struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)
    )


def ask(place: Place, name: str, kind: int = A, *, tcp: bool = False) -> tuple[int, list[str]]:
    """Return the response code and the answers, as text, of the embedded server."""
    message = question(name, kind)
    if tcp:
        with place.make_socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.connect(("127.0.0.11", 53))
            client.sendall(struct.pack("!H", len(message)) + message)
            answer = client.recv(4096)[2:]
    else:
        with place.make_socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.11", 53))
            client.send(message)
            answer = client.recv(4096)
    code, count = answer[3] & 15, struct.unpack_from("!H", answer, 6)[0]
    found = []
    offset = len(message)
    for _ in range(count):
        (size,) = struct.unpack_from("!H", answer, offset + 10)
        data = answer[offset + 12 : offset + 12 + size]
        found.append(_text(data, kind))
        offset += 12 + size
    return code, sorted(found)


def _text(data: bytes, kind: int) -> str:
    if kind == A:
        return socket.inet_ntop(socket.AF_INET, data)
    if kind == AAAA:
        return socket.inet_ntop(socket.AF_INET6, data)
    labels = []
    while data[0]:
        labels.append(data[1 : data[0] + 1].decode())
        data = data[data[0] + 1 :]
    return ".".join(labels)


async def join(
    node: Node,
    state: NetworkState,
    name: str,
    address: str,
    *,
    aliases: list[str] | None = None,
    node_id: str = HERE,
    others: tuple[Node, ...] = (),
) -> tuple[Place, str]:
    """Start a container in a user network, as the gateway and the core do it."""
    container_id = node.next_id()
    endpoint = node.endpoint_of(
        state, container_id, name, address, aliases=aliases, node_id=node_id
    )
    state.revision += 1
    for one in (node, *others):
        await one.networks.apply(state.model_copy(deep=True))
    place, attachment, _ = await node.run(name, endpoints=[endpoint])
    assert attachment.nameservers == ["127.0.0.11"]
    assert "ndots:0" in attachment.resolv_options
    return place, container_id


async def test_names_aliases_short_ids_and_reverse_names(node: Node) -> None:
    state = node.network_state("shop", "172.30.0.0/24")
    web, web_id = await join(node, state, "web", "172.30.0.2/24", aliases=["front"])
    await join(node, state, "web2", "172.30.0.3/24", aliases=["front"])
    for name in ("web", "WEB", "web.shop", web_id[:12]):
        assert await asyncio.to_thread(ask, web, name) == (0, ["172.30.0.2"])
    assert await asyncio.to_thread(ask, web, "front") == (0, ["172.30.0.2", "172.30.0.3"])
    assert await asyncio.to_thread(ask, web, "web", AAAA) == (0, [])
    reverse = "3.0.30.172.in-addr.arpa"
    assert (await asyncio.to_thread(ask, web, reverse, PTR))[1] == ["web2.shop"]
    # A container that stopped has no name any more.
    state.endpoints[1].running = False
    state.revision += 1
    await node.networks.apply(state)
    assert await asyncio.to_thread(ask, web, "front") == (0, ["172.30.0.2"])


async def test_older_state_is_ignored(node: Node) -> None:
    state = node.network_state("shop", "172.30.0.0/24", revision=5)
    web, _ = await join(node, state, "web", "172.30.0.2/24")
    old = node.network_state("shop", "172.30.0.0/24", revision=2)
    await node.networks.apply(old)
    assert await asyncio.to_thread(ask, web, "web") == (0, ["172.30.0.2"])


async def test_other_names_are_forwarded_by_udp_and_tcp(node: Node) -> None:
    outside = node.outside
    answered = struct.pack("!HHHHHH", 0, 0x8183, 1, 0, 0, 0)

    def serve_datagrams() -> None:
        data, peer = udp.recvfrom(4096)
        udp.sendto(data[:2] + answered[2:] + data[12:], peer)

    def serve_stream() -> None:
        connection, _ = tcp.accept()
        with connection:
            data = connection.recv(4096)[2:]
            reply = data[:2] + answered[2:] + data[12:]
            connection.sendall(struct.pack("!H", len(reply)) + reply)

    udp = outside.make_socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((OUTSIDE, 53))
    tcp = outside.make_socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.bind((OUTSIDE, 53))
    tcp.listen()
    state = node.network_state("shop", "172.30.0.0/24")
    endpoint = node.endpoint_of(state, "c" * 64, "web", "172.30.0.2/24")
    await node.networks.apply(state)
    web, _, _ = await node.run("web", endpoints=[endpoint], host_config=HostConfig(dns=[OUTSIDE]))
    name = "no.such.name"
    served = asyncio.gather(asyncio.to_thread(serve_datagrams), asyncio.to_thread(serve_stream))
    assert await asyncio.to_thread(ask, web, name) == (3, [])
    assert await asyncio.to_thread(lambda: ask(web, name, tcp=True)) == (3, [])
    await served


async def test_networks_are_isolated_and_internal_ones_have_no_way_out(node: Node) -> None:
    node.outside.serve(b"out", 80)
    one, two = (
        node.network_state("one", "172.30.0.0/24"),
        node.network_state("two", "172.31.0.0/24"),
    )
    inner = node.network_state("inner", "172.29.0.0/24", internal=True)
    first, _ = await join(node, one, "first", "172.30.0.2/24")
    second, _ = await join(node, two, "second", "172.31.0.2/24")
    third, _ = await join(node, inner, "third", "172.29.0.2/24")
    fourth, _ = await join(node, inner, "fourth", "172.29.0.3/24")
    for place in (second, third, fourth):
        place.serve(b"inside", 80)
    reach = asyncio.to_thread
    assert (await reach(first.fetch, OUTSIDE, 80)).startswith(b"out")
    assert await reach(first.cannot_reach, "172.31.0.2", 80)
    assert await reach(first.cannot_reach, "172.29.0.2", 80)
    assert await reach(third.cannot_reach, OUTSIDE, 80)
    assert await reach(third.fetch, "172.29.0.3", 80) == b"inside 172.29.0.2"


async def test_connecting_and_disconnecting_a_running_container(node: Node) -> None:
    one, two = (
        node.network_state("one", "172.30.0.0/24"),
        node.network_state("two", "172.31.0.0/24"),
    )
    first, first_id = await join(node, one, "first", "172.30.0.2/24")
    second, _ = await join(node, two, "second", "172.31.0.2/24")
    second.serve(b"second", 80)
    joining, sandbox = node.joined[first_id]
    endpoint = node.endpoint_of(two, first_id, "first", "172.31.0.3/24")
    two.revision += 1
    await node.networks.apply(two)
    attachment = await node.networks.connect(joining, sandbox, endpoint)
    assert set(attachment.networks) == {"one", "two"}
    assert await asyncio.to_thread(ask, first, "second") == (0, ["172.31.0.2"])
    assert await asyncio.to_thread(first.fetch, "172.31.0.2", 80) == b"second 172.31.0.3"
    attachment = await node.networks.disconnect(joining, sandbox, two.network.id)
    assert set(attachment.networks) == {"one"}
    assert await asyncio.to_thread(first.cannot_reach, "172.31.0.2", 80)


async def test_restarted_agent_finds_everything_as_it_was(node: Node, tmp_path: Path) -> None:
    state = node.network_state("shop", "172.30.0.0/24")
    container_id = "d" * 64
    endpoint = node.endpoint_of(state, container_id, "web", "172.30.0.2/24")
    await node.networks.apply(state)
    ports: dict[str, list[PortBinding] | None] = {"80/tcp": [PortBinding(host_port="8080")]}
    web, _, web_id = await node.run("web", endpoints=[endpoint], ports=ports)
    _, attachment, _ = await node.run("plain")
    web.serve(b"web", 80)
    await node.networks.close()
    assert (await asyncio.to_thread(node.outside.fetch, HOST, 8080)).startswith(b"web")
    again = NodeNetworks(tmp_path / "network", tmp_path / "run", node_id="n" * 25, address=HOST)
    node.networks = again
    await again.start(list(node.joined.values()))
    assert (await asyncio.to_thread(node.outside.fetch, HOST, 8080)).startswith(b"web")
    assert await asyncio.to_thread(ask, web, "web") == (0, ["172.30.0.2"])
    # The default bridge's address is still taken.
    _, other, _ = await node.run("other")
    taken = attachment.networks["bridge"].ip_address
    assert other.networks["bridge"].ip_address != taken
    await again.detach(web_id)
    assert await asyncio.to_thread(node.outside.cannot_reach, HOST, 8080)


async def test_network_spans_hosts_without_flooding(node: Node, other_node: Node) -> None:
    nodes = [
        NetworkNode(id=HERE, name="here", address=HOST),
        NetworkNode(id=THERE, name="there", address=OUTSIDE),
    ]
    state = node.network_state("shop", "172.30.0.0/24", vni=4097, nodes=nodes)
    web, _ = await join(node, state, "web", "172.30.0.2/24", others=(other_node,))
    api, _ = await join(other_node, state, "api", "172.30.0.3/24", node_id=THERE, others=(node,))
    web.serve(b"web", 80)
    api.serve(b"api" + bytes(3 << 20), 80)
    assert await asyncio.to_thread(ask, web, "api") == (0, ["172.30.0.3"])
    assert await asyncio.to_thread(ask, api, "web") == (0, ["172.30.0.2"])
    assert await asyncio.to_thread(api.fetch, "172.30.0.2", 80) == b"web 172.30.0.3"
    answer = await asyncio.to_thread(web.fetch, "172.30.0.3", 80)
    assert answer.endswith(b" 172.30.0.2")
    assert len(answer) > 3 << 20
    assert "mtu 1450" in web.command("ip", "link", "show", "eth0")
    # No container can send what looks like a node's tunnel.
    closed = node.host.command("nft", "list", "set", "inet", "flotilla", "tunnels4")
    assert HOST in closed
    assert OUTSIDE in closed
    # The way out of each is its own host.
    assert "172.30.0.1" in api.command("ip", "route")
    # The container moves from there to here: no entry of it stays.
    gone = state.endpoints.pop()
    assert gone.container_name == "api"
    await other_node.close()
    moved, _ = await join(node, state, "api", "172.30.0.3/24")
    moved.serve(b"moved", 80)
    assert await asyncio.to_thread(web.fetch, "172.30.0.3", 80) == b"moved 172.30.0.2"


async def test_container_may_be_a_name_server_itself(node: Node) -> None:
    state = node.network_state("shop", "172.30.0.0/24")
    web, _ = await join(node, state, "web", "172.30.0.2/24")
    web.serve_udp(53)
    web.serve(b"mine", 53)
    assert await asyncio.to_thread(ask, web, "web") == (0, ["172.30.0.2"])
    assert await asyncio.to_thread(lambda: ask(web, "web", tcp=True)) == (0, ["172.30.0.2"])


async def test_ipv6_network(node: Node) -> None:
    state = node.network_state("six", "fd30::/64")
    web, _ = await join(node, state, "web", "fd30::2/64")
    api, _ = await join(node, state, "api", "fd30::3/64")
    web.serve(b"web", 80, address="::")
    assert await asyncio.to_thread(ask, api, "web", AAAA) == (0, ["fd30::2"])
    assert await asyncio.to_thread(api.fetch, "fd30::2", 80) == b"web fd30::3"
    node.outside.serve(b"out", 80, address="::")
    assert await asyncio.to_thread(api.fetch, "fd99::2", 80) == b"out fd99::1"


async def test_two_agents_of_one_host_leave_each_other_alone(node: Node, tmp_path: Path) -> None:
    state = node.network_state("shop", "172.30.0.0/24")
    container_id = "d" * 64
    endpoint = node.endpoint_of(state, container_id, "web", "172.30.0.2/24")
    await node.networks.apply(state)
    ports: dict[str, list[PortBinding] | None] = {"80/tcp": None}
    web, attachment, _ = await node.run("web", endpoints=[endpoint], ports=ports)
    bindings = attachment.ports["80/tcp"]
    assert bindings
    web.serve(b"web", 80)
    other = NodeNetworks(
        *(tmp_path / "network2", tmp_path / "run2"),
        node_id=THERE,
        address=HOST,
        bridge="flt-other",
        table="flotilla-other",
    )
    await other.start([])
    try:
        port = int(bindings[0].host_port)
        assert (await asyncio.to_thread(node.outside.fetch, HOST, port)).startswith(b"web")
        assert await asyncio.to_thread(ask, web, "web") == (0, ["172.30.0.2"])
        tables = node.host.command("nft", "list", "tables").splitlines()
        assert {"table inet flotilla", "table inet flotilla-other"} <= set(tables)
        shown = node.host.command("ip", "-4", "-brief", "addr", "show", "flt-other")
        assert "172.17.0.1" not in shown
    finally:
        await other.close()
