"""Twin of ``network/daemon``: what is served while the agent is away, and who serves it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests.runtime_agent.network.conftest import DEADLINE_S, daemons
from tests.runtime_agent.network.test_user_networks import HOST, OUTSIDE, ask

from flotilla_runtime_agent.network.networks import NodeNetworks
from flotilla_runtime_agent.network.watching import ended

if TYPE_CHECKING:
    import pytest
    from tests.runtime_agent.network.conftest import Node, Place


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def served(node: Node) -> tuple[Place, int]:
    """Run a web server in a user network, with a published port; return that port too."""
    state = node.network_state("shop", "172.30.0.0/24")
    endpoint = node.endpoint_of(state, "d" * 64, "web", "172.30.0.2/24")
    await node.networks.apply(state)
    web, attachment, _ = await node.run(
        "web", endpoints=[endpoint], ports={"80/tcp": None, "7/tcp": None}
    )
    web.serve(b"web", 80)
    bindings = attachment.ports["80/tcp"]
    assert bindings
    return web, int(bindings[0].host_port)


async def restarted(node: Node, tmp_path: Path) -> None:
    """Start the next agent on the same host."""
    node.networks = NodeNetworks(
        tmp_path / "network", tmp_path / "run", node_id="n" * 25, address=HOST
    )
    await node.networks.start(list(node.joined.values()))


async def answers(node: Node, web: Place, port: int) -> None:
    """See that names, and the published port on all its ways, answer."""
    assert await asyncio.to_thread(ask, web, "web") == (0, ["172.30.0.2"])
    assert await asyncio.to_thread(lambda: ask(web, "web", tcp=True)) == (0, ["172.30.0.2"])
    for place, address in ((node.host, "::1"), (node.outside, "fd99::1"), (node.outside, HOST)):
        assert (await asyncio.to_thread(place.fetch, address, port)).startswith(b"web")


async def test_names_and_ports_answer_while_the_agent_is_away(node: Node, tmp_path: Path) -> None:
    web, port = await served(node)
    await answers(node, web, port)
    before = daemons(tmp_path / "run")
    await node.networks.close()
    await answers(node, web, port)
    await restarted(node, tmp_path)
    await answers(node, web, port)
    assert daemons(tmp_path / "run") == before
    assert len(before) == 1


async def test_names_are_forwarded_while_the_agent_is_away(
    node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = node.outside.make_socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind((OUTSIDE, 53))
    resolv = tmp_path / "resolv.conf"
    resolv.write_text(f"nameserver {OUTSIDE}\n")
    monkeypatch.setattr("flotilla_runtime_agent.network.resolv._HOST_FILE", resolv)
    web, _ = await served(node)
    await node.networks.close()
    question = asyncio.create_task(asyncio.to_thread(ask, web, "far.example"))
    data, client = await asyncio.to_thread(asked.recvfrom, 4096)
    asked.sendto(data[:2] + b"\x81\x83" + data[4:], client)  # no such name
    assert await question == (3, [])
    await restarted(node, tmp_path)


async def test_killed_daemon_is_started_anew_with_all_that_it_had(
    node: Node, tmp_path: Path
) -> None:
    web, port = await served(node)
    (pid,) = daemons(tmp_path / "run")
    os.kill(pid, signal.SIGKILL)
    await ended(pid, DEADLINE_S)
    await node.networks.repair()
    await answers(node, web, port)
    assert pid not in daemons(tmp_path / "run")


async def test_daemon_of_another_version_gives_way_without_losing_a_connection(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web, port = await served(node)
    inner = web.make_socket(socket.AF_INET, socket.SOCK_STREAM)
    inner.bind(("0.0.0.0", 7))
    inner.listen()
    bindings = node.attachments[-1].ports["7/tcp"]
    assert bindings
    outer = node.outside.make_socket(socket.AF_INET6, socket.SOCK_STREAM)
    await asyncio.to_thread(outer.connect, ("fd99::1", int(bindings[0].host_port)))
    accepted, _ = await asyncio.to_thread(inner.accept)
    before = daemons(tmp_path / "run")
    await node.networks.close()
    monkeypatch.setattr(
        "flotilla_runtime_agent.network.daemon.client.source_version", lambda: "another"
    )
    await restarted(node, tmp_path)
    await answers(node, web, port)
    assert set(daemons(tmp_path / "run")).difference(before)
    with accepted:
        outer.sendall(b"in")
        assert await asyncio.to_thread(accepted.recv, 10) == b"in"
        accepted.sendall(b"out")
        assert await asyncio.to_thread(outer.recv, 10) == b"out"
    outer.close()
    await ended(before[0], DEADLINE_S)
    assert before[0] not in daemons(tmp_path / "run")


async def test_daemon_ends_when_there_is_nothing_to_serve(node: Node, tmp_path: Path) -> None:
    await served(node)
    (pid,) = daemons(tmp_path / "run")
    for container_id in node.joined:
        await node.networks.detach(container_id)
    await node.networks.close()
    await ended(pid, DEADLINE_S)
    assert daemons(tmp_path / "run") == []


async def test_daemon_is_small(node: Node, tmp_path: Path) -> None:
    await served(node)
    (pid,) = daemons(tmp_path / "run")
    assert resident_kib(pid) < 25 * 1024
