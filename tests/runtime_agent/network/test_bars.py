"""The bars of the networks: throughput, cost of attaching, cost of many published ports.

Measured, so only for a quiet machine: ``FLOTILLA_SOAK=1 pytest -s`` prints the numbers.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flotilla_engine.host_config import PortBinding
from flotilla_engine.records import NetworkNode
from flotilla_runtime_agent.network import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.runtime_agent.network.conftest import Node, Place

pytestmark = pytest.mark.soak

HERE, THERE = "n" * 25, "o" * 25
ROUNDS = 3
SECONDS = "2"


def throughput(server: Place, client: Place, address: str) -> float:
    """Return Gbit/s of one TCP stream by iperf3."""
    serving = server.run(
        lambda: subprocess.Popen(["iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
    )
    try:
        deadline = time.monotonic() + 30
        while ":5201 " not in server.command("ss", "-tln"):
            assert time.monotonic() < deadline
        said = client.command("iperf3", "-c", address, "-t", SECONDS, "-J")
        received = json.loads(said)["end"]["sum_received"]["bits_per_second"]
        return float(received) / 1e9
    finally:
        serving.kill()
        serving.wait()


def compared(ours: tuple[Place, Place, str], by_hand: tuple[Place, Place, str]) -> float:
    """Return ours as a ratio of what was made by hand, measured in turn."""
    results: dict[str, list[float]] = {"ours": [], "by hand": []}
    for _ in range(ROUNDS):
        results["ours"].append(throughput(*ours))
        results["by hand"].append(throughput(*by_hand))
    medians = {name: statistics.median(values) for name, values in results.items()}
    ratio = medians["ours"] / medians["by hand"]
    print(f"\n{medians['ours']:.1f} Gbit/s, by hand {medians['by hand']:.1f}, ratio {ratio:.2f}")  # noqa: T201  # what the run is for
    return ratio


@pytest.fixture
def bare(node: Node, other_node: Node, tmp_path: Path) -> Iterator[list[Place]]:
    """Four namespaces: two on a plain bridge of this host, one on a VXLAN at each host."""
    paths = [tmp_path / name for name in ("bare1", "bare2", "bare3", "bare4")]
    try:
        for path in paths:
            namespaces.create(path)
        _bridge_by_hand(node.host, paths[:2])
        _vxlan_by_hand(node.host, paths[2], "10.99.0.1", "10.99.0.2", "10.78.0.1/24")
        _vxlan_by_hand(other_node.host, paths[3], "10.99.0.2", "10.99.0.1", "10.78.0.2/24")
        yield [type(node.host)(path) for path in paths]
    finally:
        for path in paths:
            namespaces.remove(path)


def _bridge_by_hand(host: Place, paths: list[Path]) -> None:
    host.command("ip", "link", "add", "plain", "type", "bridge")
    host.command("ip", "link", "set", "plain", "up")
    for number, path in enumerate(paths, 1):
        _plug(host, path, f"p{number}", "plain", f"10.77.0.{number}/24", 1500)


def _vxlan_by_hand(host: Place, path: Path, local: str, remote: str, address: str) -> None:
    vxlan = ("type", "vxlan", "id", "77", "dstport", "4790", "local", local, "remote", remote)
    host.command("ip", "link", "add", "tunnel", "mtu", "1450", *vxlan)
    host.command("ip", "link", "add", "across", "type", "bridge")
    host.command("ip", "link", "set", "tunnel", "master", "across", "up")
    host.command("ip", "link", "set", "across", "up")
    _plug(host, path, "x1", "across", address, 1450)


def _plug(host: Place, path: Path, name: str, bridge: str, address: str, mtu: int) -> None:
    host.command("ip", "link", "add", name, "mtu", str(mtu), "type", "veth", "peer", f"{name}in")
    host.command("ip", "link", "set", name, "master", bridge, "up")
    host.command("ip", "link", "set", f"{name}in", "netns", str(path))
    inner = ("nsenter", f"--net={path}", "ip")
    host.command(*inner, "link", "set", f"{name}in", "name", "eth0", "mtu", str(mtu))
    host.command(*inner, "addr", "add", address, "dev", "eth0")
    host.command(*inner, "link", "set", "eth0", "up")


async def test_throughput_on_one_host(node: Node, bare: list[Place]) -> None:
    server, attachment, _ = await node.run("server")
    client, _, _ = await node.run("client")
    address = attachment.networks["bridge"].ip_address
    assert compared((server, client, address), (bare[0], bare[1], "10.77.0.1")) >= 0.9


async def test_throughput_across_hosts(node: Node, other_node: Node, bare: list[Place]) -> None:
    nodes = [
        NetworkNode(id=HERE, name="here", address="10.99.0.1"),
        NetworkNode(id=THERE, name="there", address="10.99.0.2"),
    ]
    state = node.network_state("span", "172.30.0.0/24", vni=4097, nodes=nodes)
    first = node.endpoint_of(state, "a" * 64, "server", "172.30.0.2/24")
    second = node.endpoint_of(state, "b" * 64, "client", "172.30.0.3/24", node_id=THERE)
    for one in (node, other_node):
        await one.networks.apply(state)
    server, _, _ = await node.run("server", endpoints=[first])
    client, _, _ = await other_node.run("client", endpoints=[second])
    assert compared((server, client, "172.30.0.2"), (bare[2], bare[3], "10.78.0.1")) >= 0.9


async def test_attaching_stays_cheap_with_a_thousand_published_ports(node: Node) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        few = [await _seconds_to_run(node, f"before{number}") for number in range(30)]
        many = {f"{port}/tcp": [PortBinding(host_port=str(port))] for port in range(20000, 21000)}
        _, _, many_id = await node.run("many", ports=dict(many))
        after = [await _seconds_to_run(node, f"after{number}") for number in range(30)]
        await node.networks.detach(many_id)
        few += [await _seconds_to_run(node, f"again{number}") for number in range(30)]
        first, second = statistics.median(few), statistics.median(after)
        print(f"\nattach {first * 1e3:.1f} ms, with 1,000 ports {second * 1e3:.1f} ms")  # noqa: T201  # what the run is for
        assert first < 0.010
        # The bar is a tenth of a container's whole start, about 200 ms.
        assert second - first < 0.020
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _seconds_to_run(node: Node, name: str) -> float:
    started = time.perf_counter()
    await node.run(name, ports={"80/tcp": None})
    return time.perf_counter() - started
