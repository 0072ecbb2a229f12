"""Twin of flotilla_gateway.ingress: real sockets on the loopback address."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast

import pytest

from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig, PortBinding
from flotilla_engine.records import ContainerRecord
from flotilla_engine.state import ContainerState
from flotilla_gateway.ingress.targets import Published, Target, published
from flotilla_gateway.ingress.tcp import TcpPort
from flotilla_gateway.ingress.udp import UdpPort

HOST = "127.0.0.1"


def record(
    name: str, node: str, *, running: bool = True, asked: bool = True, **ports: str
) -> ContainerRecord:
    return ContainerRecord(
        id=name,
        name=name,
        node_id=node,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        image_id="",
        image="",
        config=ContainerConfig(),
        host_config=HostConfig(
            port_bindings={
                f"{number}/{protocol}": [PortBinding(host_port=port if asked else "")]
                for protocol, text in ports.items()
                for number, _, port in [text.split("|")]
            }
        ),
        state=ContainerState(running=running),
        ports={
            f"{number}/{protocol}": [PortBinding(host_ip=host, host_port=port)]
            for protocol, text in ports.items()
            for number, host, port in [text.split("|")]
        },
    )


def test_ports_of_running_containers_on_reachable_nodes_are_served() -> None:
    records = [
        record("web", "a", tcp="80|0.0.0.0|8080"),
        record("twin", "b", tcp="80|0.0.0.0|8080"),
        record("dns", "a", udp="53|::|5353"),
        record("idle", "a", running=False, tcp="80|0.0.0.0|81"),
        record("local", "a", tcp="80|127.0.0.1|82"),
        record("lost", "c", tcp="80|0.0.0.0|83"),
    ]
    assert published(records, {"a": "10.0.0.1", "b": "10.0.0.2"}) == {
        Published("tcp", 8080): [
            Target("10.0.0.1", 8080, "web"),
            Target("10.0.0.2", 8080, "twin"),
        ],
        Published("udp", 5353): [Target("10.0.0.1", 5353, "dns")],
    }


def test_a_port_had_twice_by_chance_is_the_oldest_containers() -> None:
    records = [
        record("first", "b", tcp="80|0.0.0.0|40000", asked=False),
        record("second", "a", tcp="80|0.0.0.0|40000", asked=False),
    ]
    found = published(records, {"a": "10.0.0.1", "b": "10.0.0.2"})
    assert found == {Published("tcp", 40000): [Target("10.0.0.2", 40000, "first")]}
    records.append(record("third", "a", tcp="80|0.0.0.0|40000"))
    found = published(records, {"a": "10.0.0.1", "b": "10.0.0.2"})
    assert found == {Published("tcp", 40000): [Target("10.0.0.1", 40000, "third")]}


@asynccontextmanager
async def greeting(name: str) -> AsyncIterator[Target]:
    """A server that says its name, and then the whole of what it got, reversed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        writer.write((await reader.read())[::-1])
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield Target(HOST, server.sockets[0].getsockname()[1], name)


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def ask(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_tcp_goes_round_the_targets_and_keeps_half_closed_connections() -> None:
    async with asyncio.timeout(30), greeting("one") as one, greeting("two") as two:
        port = TcpPort([one, two])
        number = free_port(socket.SOCK_STREAM)
        await port.open([HOST], number)
        answers = {await ask(number, b"abc") for _ in range(4)}
        assert answers == {b"onecba", b"twocba"}
        dead = Target(HOST, free_port(socket.SOCK_STREAM), "dead")
        port.targets = [dead, one]
        assert {await ask(number, b"x") for _ in range(4)} == {b"onex"}
        await port.close()
        with pytest.raises(OSError, match=r"."):
            await asyncio.open_connection(HOST, number)


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(data.upper(), address)


async def test_udp_answers_come_back_to_their_clients() -> None:
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=(HOST, 0))
    target = Target(HOST, server.get_extra_info("sockname")[1], "echo")
    port = UdpPort([target])
    number = free_port(socket.SOCK_DGRAM)
    await port.open([HOST], number)
    async with asyncio.timeout(30):
        for text in (b"one", b"two"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.connect((HOST, number))
                await loop.sock_sendall(client, text)
                assert await loop.sock_recv(client, 100) == text.upper()
    await port.close()
    server.close()
