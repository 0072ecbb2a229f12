"""Twin of ``network/networks.py``: containers of one host on real namespaces."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flotilla_core.errors import InternalError
from flotilla_engine.host_config import HostConfig, PortBinding
from flotilla_runtime_agent.network.netlink.links import BridgeKind
from flotilla_runtime_agent.network.netlink.route import RouteSocket
from flotilla_runtime_agent.network.networks import NodeNetworks

if TYPE_CHECKING:
    from tests.runtime_agent.network.conftest import Node, Place

OUTSIDE = "10.99.0.2"
HOST = "10.99.0.1"


async def test_default_bridge_gives_address_route_and_way_out(node: Node) -> None:
    place, attachment, _ = await node.run("web")
    settings = attachment.networks["bridge"]
    assert settings.ip_address == "172.17.0.2"
    assert settings.ip_prefix_len == 16
    assert settings.gateway == "172.17.0.1"
    assert settings.mac_address == "02:42:ac:11:00:02"
    assert "brd 172.17.255.255" in place.command("ip", "-4", "addr", "show", "eth0")
    node.outside.serve(b"out", 80)
    # The neighbour outside sees the host's address: masqueraded.
    assert await asyncio.to_thread(place.fetch, OUTSIDE, 80) == b"out 10.99.0.1"


async def test_containers_of_the_default_bridge_reach_each_other(node: Node) -> None:
    first, _, _ = await node.run("one")
    second, attachment, _ = await node.run("two")
    second.serve(b"two", 80)
    address = attachment.networks["bridge"].ip_address
    assert await asyncio.to_thread(first.fetch, address, 80) == b"two 172.17.0.2"


async def test_unpublished_ports_are_closed_to_other_hosts(node: Node) -> None:
    place, attachment, _ = await node.run("web")
    place.serve(b"web", 80)
    node.outside.command("ip", "route", "add", "default", "via", HOST)
    address = attachment.networks["bridge"].ip_address
    assert await asyncio.to_thread(node.outside.cannot_reach, address, 80)


async def test_published_port_answers_everywhere(node: Node) -> None:
    place, attachment, _ = await node.run("web", ports={"80/tcp": [PortBinding(host_port="8080")]})
    assert attachment.ports == {
        "80/tcp": [
            PortBinding(host_ip="0.0.0.0", host_port="8080"),
            PortBinding(host_ip="::", host_port="8080"),
        ]
    }
    place.serve(b"web", 80)
    other, _, _ = await node.run("other")
    fetch = asyncio.to_thread
    assert await fetch(node.outside.fetch, HOST, 8080) == b"web 10.99.0.2"
    assert await fetch(node.host.fetch, HOST, 8080) == b"web 10.99.0.1"
    assert await fetch(node.host.fetch, "127.0.0.1", 8080) == b"web 172.17.0.1"
    assert (await fetch(node.host.fetch, "::1", 8080)).startswith(b"web ")
    assert (await fetch(node.outside.fetch, "fd99::1", 8080)).startswith(b"web ")
    assert (await fetch(other.fetch, HOST, 8080)).startswith(b"web ")
    # Hairpin: from the container to its own published port.
    assert (await fetch(place.fetch, HOST, 8080)).startswith(b"web ")


async def test_port_of_another_container_is_a_conflict(node: Node) -> None:
    ports = {"80/tcp": [PortBinding(host_port="8080")]}
    await node.run("web", ports=dict(ports))
    with pytest.raises(InternalError) as caught:
        await node.run("second", ports=dict(ports))
    assert caught.value.message == (
        f"driver failed programming external connectivity on endpoint second ({'e' * 64}): "
        "Bind for 0.0.0.0:8080 failed: port is already allocated"
    )


async def test_port_of_a_host_process_is_a_conflict(node: Node) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InternalError, match="address already in use"):
            await node.run("web", ports={"80/tcp": [PortBinding(host_port=str(port))]})


async def test_nobody_else_can_bind_a_published_port_until_it_is_free(node: Node) -> None:
    _, _, container_id = await node.run("web", ports={"80/tcp": [PortBinding(host_port="8080")]})
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("0.0.0.0", 8080))
        await node.networks.detach(container_id)
        other.bind(("0.0.0.0", 8080))


async def test_random_ports_and_ranges(node: Node) -> None:
    _, first, _ = await node.run("a", ports={"80/tcp": [PortBinding(host_port="8000-8002")]})
    _, second, _ = await node.run("b", ports={"80/tcp": [PortBinding(host_port="8000-8002")]})
    _, third, _ = await node.run("c", ports={"80/tcp": None})
    assert (first.ports["80/tcp"] or [])[0].host_port == "8000"
    assert (second.ports["80/tcp"] or [])[0].host_port == "8001"
    assert int((third.ports["80/tcp"] or [])[0].host_port) >= 32768


async def test_udp_port_on_one_host_address(node: Node) -> None:
    place, attachment, _ = await node.run(
        "dns", ports={"53/udp": [PortBinding(host_ip=HOST, host_port="5353")]}
    )
    assert attachment.ports["53/udp"] == [PortBinding(host_ip=HOST, host_port="5353")]
    place.serve_udp(53)
    for asking in (node.outside, node.host):
        with asking.make_socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((HOST, 5353))
            client.send(b"hello")
            assert await asyncio.to_thread(client.recv, 100) == b"hello"


async def test_udp_port_answers_over_ipv6_too(node: Node) -> None:
    place, _, container_id = await node.run("dns", ports={"53/udp": [PortBinding(host_port="53")]})
    place.serve_udp(53)
    for _ in range(2):
        with node.outside.make_socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.connect(("fd99::1", 53))
            client.send(b"hello")
            assert await asyncio.to_thread(client.recv, 100) == b"hello"
    await node.networks.detach(container_id)


@pytest.mark.skipif(shutil.which("iptables") is None, reason="needs iptables")
async def test_publishing_works_where_the_forward_policy_is_drop(node: Node) -> None:
    node.host.command("iptables", "-P", "FORWARD", "DROP")
    place, _, _ = await node.run("web", ports={"80/tcp": [PortBinding(host_port="8080")]})
    place.serve(b"web", 80)
    await node.networks.repair()
    assert await asyncio.to_thread(node.outside.fetch, HOST, 8080) == b"web 10.99.0.2"


async def test_table_is_made_again_after_a_firewall_reload(node: Node) -> None:
    place, _, _ = await node.run("web", ports={"80/tcp": [PortBinding(host_port="8080")]})
    place.serve(b"web", 80)
    node.host.command("nft", "add", "table", "ip", "others")
    node.host.command("nft", "delete", "table", "inet", "flotilla")
    await node.networks.repair()
    assert await asyncio.to_thread(node.outside.fetch, HOST, 8080) == b"web 10.99.0.2"
    assert "table ip others" in node.host.command("nft", "list", "tables")


async def test_udp_flow_that_goes_on_reaches_the_next_container(node: Node) -> None:
    ports: dict[str, list[PortBinding] | None] = {"53/udp": [PortBinding(host_port="5353")]}
    client = node.outside.make_socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("0.0.0.0", 40000))
    client.connect((HOST, 5353))
    first, _, first_id = await node.run("first", ports=dict(ports))
    first.serve_udp(53)
    client.send(b"one")
    assert await asyncio.to_thread(client.recv, 100) == b"one"
    await node.run("blocker")
    await node.networks.detach(first_id)
    await node.run("takes-the-address")
    second, _, _ = await node.run("second", ports=dict(ports))
    second.serve_udp(53)
    client.send(b"two")
    assert await asyncio.to_thread(client.recv, 100) == b"two"


async def test_legacy_link_and_extra_hosts(node: Node) -> None:
    await node.run("database", ports={"5432/tcp": None})
    config = HostConfig(
        links=["database:db"], extra_hosts=["docker.test:host-gateway", "six=fd00::1"]
    )
    _, attachment, container_id = await node.run("web", host_config=config)
    assert attachment.hosts[:2] == [("172.17.0.1", "docker.test"), ("fd00::1", "six")]
    assert attachment.hosts[2][0] == "172.17.0.2"
    assert attachment.hosts[2][1].split()[::2] == ["db", "database"]
    assert attachment.hosts[3] == ("172.17.0.3", container_id[:12])
    assert "DB_PORT_5432_TCP=tcp://172.17.0.2:5432" in attachment.env
    assert "DB_NAME=/web/db" in attachment.env


async def test_macvlan_joins_the_uplinks_network(node: Node) -> None:
    with RouteSocket() as route:  # the host, too, has an interface of the container's name
        route.add_link("eth0", BridgeKind())
    state = node.network_state("lan", "10.99.0.0/24", options={"parent": "up0"})
    state.network.driver = "macvlan"
    endpoint = node.endpoint_of(state, "d" * 64, "lan", "10.99.0.9/24")
    await node.networks.apply(state)
    place, _, _ = await node.run("lan", endpoints=[endpoint])
    node.outside.serve(b"out", 80)
    assert await asyncio.to_thread(place.fetch, OUTSIDE, 80) == b"out 10.99.0.9"


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_stays_of_many_containers_at_once(node: Node) -> None:
    await node.run("first")
    state = node.network_state("shop", "172.30.0.0/24")
    await node.networks.apply(state)
    before = open_descriptors()

    async def live(number: int) -> None:
        container_id = node.next_id()
        endpoint = node.endpoint_of(state, container_id, f"c{number}", f"172.30.0.{number}/24")
        _, attachment, _ = await node.run(
            f"c{number}", endpoints=[endpoint], ports={"80/tcp": None, "53/udp": None}
        )
        assert attachment.networks["shop"].ip_address == f"172.30.0.{number}"
        await node.networks.detach(container_id)
        del node.joined[container_id]

    await asyncio.gather(*(live(number) for number in range(2, 42)))
    assert open_descriptors() < before + 10
    for name in ("any4", "any6", "ports4", "ports6"):
        listed = node.host.command("nft", "list", "map", "inet", "flotilla", name)
        assert "elements" not in listed
    deadline = time.monotonic() + 90
    # The kernel takes the pairs down with their namespaces, when it has time.
    while node.host.command("ip", "-o", "link").count(": fv") > 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_address_for_other_nodes_is_found(host: tuple[Place, Place], tmp_path: Path) -> None:
    networks = NodeNetworks(tmp_path / "network", tmp_path / "run", node_id="n" * 25)
    await networks.start([])
    try:
        assert networks.address() == "10.99.0.1"  # that of the default route's interface
    finally:
        await networks.close()
