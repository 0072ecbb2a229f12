"""Networks over two hosts, through the docker CLI: names, ports, isolation, moves, cut hosts."""

import json
import os
import random
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial

import pytest

from flotilla_testing.engines import Engine, Result
from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually

SERVE = "mkdir -p /www; echo {name} > /www/index.html; exec httpd -f -p 80 -h /www"
CUTS = int(os.environ.get("FLOTILLA_TEST_CUTS", "2"))
CUT_S = float(os.environ.get("FLOTILLA_TEST_SECONDS", "3"))


def serve(engine: Engine, name: str, host: str, *options: str) -> None:
    """Start a web server that says its name, on a host."""
    engine.docker(
        *("run", "-d", "--name", name, "--label", f"flotilla.node={host}", *options),
        *("busybox", "sh", "-c", SERVE.format(name=name)),
    ).checked()


def fetch(engine: Engine, container: str, url: str) -> str:
    """Return what a container gets from a URL, or an empty string."""
    return engine.docker("exec", container, "timeout", "5", "wget", "-q", "-O-", url).out


def reaches(engine: Engine, container: str, name: str, url: str | None = None) -> None:
    """Wait until a container reaches a server by its name."""
    eventually(
        lambda: fetch(engine, container, url or f"http://{name}") == name,
        what=f"{container} does not reach {name} at {url or name}",
    )


def resolved(engine: Engine, container: str, name: str) -> set[str]:
    """Return the addresses that a name has in a container."""
    said = engine.docker("exec", container, "nslookup", "-type=a", name).stdout
    answer = said.partition("Non-authoritative answer:")[2]
    return {line.split()[-1] for line in answer.splitlines() if line.startswith("Address")}


def address_of(engine: Engine, container: str, network: str) -> str:
    document = json.loads(engine.docker("inspect", container).checked().stdout)[0]
    address: str = document["NetworkSettings"]["Networks"][network]["IPAddress"]
    return address


def on_host(stack: Stack, host: str, *command: str) -> Result:
    """Run a command in the network of a simulated host."""
    namespace = f"--net=/run/netns/flt-{stack.name}-{host}"
    done = subprocess.run(
        ["nsenter", namespace, *command], capture_output=True, text=True, check=False, timeout=60
    )
    return Result(done.returncode, done.stdout, done.stderr)


def _answers(stack: Stack, host: str, url: str) -> bool:
    got = on_host(stack, host, "timeout", "5", "busybox", "wget", "-q", "-O-", url)
    return got.out == "door"


@pytest.fixture
def shop(engine: Engine) -> Iterator[str]:
    """A user network with a server on each host."""
    engine.docker("network", "create", "--subnet", "10.231.7.0/24", "shop").checked()
    serve(engine, "web", "host1", "--network", "shop", "--network-alias", "all")
    serve(engine, "api", "host2", "--network", "shop", "--network-alias", "all")
    yield "shop"
    engine.docker("rm", "-f", "web", "api")
    engine.docker("network", "rm", "shop")


def test_names_lead_across_hosts(engine: Engine, shop: str) -> None:
    reaches(engine, "web", "api")
    reaches(engine, "api", "web")
    reaches(engine, "api", "web", "http://WEB.shop/")
    short = engine.docker("inspect", "--format", "{{.Id}}", "api").out[:12]
    reaches(engine, "web", "api", f"http://{short}/")
    both = {address_of(engine, name, shop) for name in ("web", "api")}
    assert resolved(engine, "web", "all") == both
    engine.docker("stop", "-t", "0", "api").checked()
    eventually(lambda: resolved(engine, "web", "all") == {address_of(engine, "web", shop)})
    assert resolved(engine, "web", "api") == set()
    engine.docker("start", "api").checked()
    reaches(engine, "web", "api")


def test_container_moves_to_another_host_with_its_address(engine: Engine, shop: str) -> None:
    reaches(engine, "web", "api")
    address = address_of(engine, "api", shop)
    engine.docker("rm", "-f", "api").checked()
    serve(engine, "api", "host1", "--network", "shop", "--ip", address)
    reaches(engine, "web", "api")
    engine.docker("rm", "-f", "api").checked()
    serve(engine, "api", "host2", "--network", "shop", "--ip", address)
    reaches(engine, "web", "api")
    assert resolved(engine, "web", "api") == {address}


def test_networks_are_isolated(engine: Engine, shop: str) -> None:
    engine.docker("network", "create", "--internal", "vault").checked()
    serve(engine, "safe", "host2", "--network", "vault")
    serve(engine, "guard", "host1", "--network", "vault")
    reaches(engine, "guard", "safe")
    address = address_of(engine, "safe", "vault")
    assert fetch(engine, "web", f"http://{address}") == ""
    assert resolved(engine, "web", "safe") == set()
    out = engine.docker("exec", "safe", "ping", "-c", "1", "-W", "1", "1.1.1.1")
    assert out.code != 0
    # Joined to both networks, a running container reaches both, until it leaves again.
    engine.docker("network", "connect", "--alias", "bridgehead", "vault", "web").checked()
    reaches(engine, "web", "safe")
    reaches(engine, "safe", "web", "http://bridgehead")
    engine.docker("network", "disconnect", "vault", "web").checked()
    assert fetch(engine, "web", f"http://{address}") == ""
    reaches(engine, "web", "api")


def test_published_port_answers_from_everywhere(engine: Engine, stack: Stack) -> None:
    serve(engine, "door", "host1", "-p", "80")
    serve(engine, "other", "host2")
    binding = engine.docker("port", "door", "80/tcp").checked().lines[0]
    port = binding.rpartition(":")[2]
    node = json.loads(engine.docker("inspect", "door").stdout)[0]["Node"]
    at_node = f"http://{node['Addr'].split(':')[0]}:{port}"
    for url in (at_node, f"http://127.0.0.1:{port}", f"http://[::1]:{port}"):
        eventually(partial(_answers, stack, "host1", url), what=url)
    eventually(partial(_answers, stack, "host2", at_node), what=at_node)
    reaches(engine, "door", "door", at_node)
    reaches(engine, "other", "door", at_node)
    # Ingress: the same port at the gateway's own address.
    eventually(lambda: _get(f"http://127.0.0.1:{port}") == "door")
    conflict = engine.docker(
        *("run", "--name", "late", "--label", "flotilla.node=host1", "-p", f"{port}:80"),
        *("busybox", "true"),
    )
    assert conflict.code == 125
    assert "port is already allocated" in conflict.stderr or "no " in conflict.stderr


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode().strip()
            return text
    except OSError:
        return ""


def test_traffic_and_names_go_on_while_an_agent_is_away(
    engine: Engine, stack: Stack, shop: str
) -> None:
    serve(engine, "door", "host2", "--network", shop, "-p", "80")
    for one, other in (("web", "api"), ("api", "web"), ("web", "door")):
        reaches(engine, one, other)
    address = address_of(engine, "api", shop)
    port = engine.docker("port", "door", "80/tcp").checked().lines[0].rpartition(":")[2]
    sandbox = engine.docker("inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "api").out
    lookup = ("nsenter", f"--net={sandbox}", "busybox", "nslookup", "web", "127.0.0.11")
    stack.kill("agent-host2")
    try:
        reaches(engine, "web", "api", f"http://{address}")
        # Names of this host are still answered, also the one of the silent host.
        assert resolved(engine, "web", "api") == {address}
        # And on the silent host itself, as are the ports that the kernel does not translate.
        assert address_of(engine, "web", shop) in on_host(stack, "host2", *lookup).stdout
        eventually(partial(_answers, stack, "host2", f"http://[::1]:{port}"))
    finally:
        stack.start("agent-host2")
        eventually(lambda: _is_ready(stack, "host2"), timeout_s=60, what="host2 is not ready")
        engine.docker("rm", "-f", "door")
    reaches(engine, "api", "web")
    reaches(engine, "web", "api")


def test_cut_host_comes_back_with_right_names_and_addresses(
    engine: Engine, stack: Stack, shop: str
) -> None:
    stop = threading.Event()
    load = threading.Thread(target=_churn, args=(engine, shop, stop))
    load.start()
    try:
        for _ in range(CUTS):
            stack.cut("host2")
            time.sleep(CUT_S)  # the length of the cut is what is tested
            stack.heal("host2")
            eventually(lambda: _is_ready(stack, "host2"), timeout_s=60, what="host2 is not ready")
    finally:
        stop.set()
        load.join()
    for container in ("web", "api"):
        for name in ("web", "api"):
            reaches(engine, container, name)
            eventually(partial(_resolves_rightly, engine, container, name, shop))
    eventually(lambda: _no_address_twice(engine, shop), what="addresses given twice or leaked")


def _resolves_rightly(engine: Engine, container: str, name: str, network: str) -> bool:
    return resolved(engine, container, name) == {address_of(engine, name, network)}


def _churn(engine: Engine, network: str, stop: threading.Event) -> None:
    """Create and remove containers in the network, wherever they go."""
    number = 0
    while not stop.is_set():
        number += 1
        name = f"churn{number}"
        host = random.choice(("host1", "host2"))
        engine.docker(
            *("run", "-d", "--name", name, "--network", network),
            *("--label", f"flotilla.node={host}", "busybox", "sleep", "1000"),
        )
        engine.docker("rm", "-f", name)


def _is_ready(stack: Stack, host: str) -> bool:
    return any(line.split()[:2] == [host, "ready"] for line in stack.flotilla("status").lines)


def _no_address_twice(engine: Engine, network: str) -> bool:
    for identifier in engine.docker("ps", "-aq", "--filter", "name=churn").out.split():
        engine.docker("rm", "-f", identifier)
    said = json.loads(engine.docker("network", "inspect", network).stdout)[0]["Containers"]
    addresses = [one["IPv4Address"] for one in said.values()]
    names = sorted(one["Name"] for one in said.values())
    return len(addresses) == len(set(addresses)) and names == ["api", "web"]
