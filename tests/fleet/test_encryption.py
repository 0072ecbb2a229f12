"""Networks that are encrypted between hosts, through the docker CLI."""

import os
import socket

import pytest

from flotilla_runtime_agent.network.netlink.sockets import call_inside
from flotilla_testing import census
from flotilla_testing.captures import Capture
from flotilla_testing.engines import Engine
from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually

MARKER = "this is not for every eye"
SERVE = f"mkdir /www; yes '{MARKER}' | head -c 300000 > /www/text; exec httpd -f -p 80 -h /www"
VXLAN_PORT, WIREGUARD_PORT = 4789, 51878
ASK = (
    "while true; do if timeout 20 wget -q -O /dev/null http://{address}/text; "
    "then echo >> /passed; else echo >> /lost; fi; done"
)


@pytest.fixture
def secret(stack: Stack, engine: Engine) -> str:
    """An encrypted network with a container on each host, `one` and `two`, that serve a text."""
    nodes = stack.flotilla("node", "ls").checked().lines
    if not all("encrypts" in line for line in nodes):
        pytest.skip("needs WireGuard")
    engine.docker("network", "create", "--opt", "encrypted", "secret").checked()
    for name, host in (("one", "host1"), ("two", "host2")):
        engine.docker(
            *("run", "-d", "--name", name, "--network", "secret"),
            *("--label", f"flotilla.node={host}", "busybox", "sh", "-c", SERVE),
        ).checked()
    return "secret"


def length(engine: Engine, container: str, name: str) -> str:
    """Return how much of the text a container gets from another one."""
    script = f"timeout 20 wget -q -O- http://{name}/text | wc -c"
    return engine.docker("exec", container, "sh", "-c", script).out


def address_of(stack: Stack, host: str) -> str:
    nodes = stack.flotilla("node", "ls").checked().lines
    return next(line.split()[3] for line in nodes if line.split()[1] == host)


def packets_of(stack: Stack, host: str) -> socket.socket:
    """Return a socket that gets all that passes the host's interfaces."""
    namespace = os.open(f"/run/netns/flt-{stack.name}-{host}", os.O_RDONLY)
    try:
        return call_inside(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    finally:
        os.close(namespace)


def count(engine: Engine, container: str, path: str) -> int:
    said = engine.docker("exec", container, "sh", "-c", f"cat {path} 2>/dev/null | wc -l")
    return int(said.out or 0)


def test_nothing_between_the_hosts_is_readable(stack: Stack, engine: Engine, secret: str) -> None:
    shown = engine.docker("network", "inspect", "--format", "{{json .Options}}", secret).out
    assert shown == '{"encrypted":""}'
    eventually(lambda: length(engine, "two", "one") == "300000", what="two does not reach one")
    hosts = address_of(stack, "host1"), address_of(stack, "host2")
    with Capture(packets_of(stack, "host1"), "eth0", MARKER.encode(), hosts) as capture:
        assert length(engine, "one", "two") == "300000"
    assert capture.frames > 100
    assert not capture.has_marker
    assert WIREGUARD_PORT in capture.udp_ports
    assert VXLAN_PORT not in capture.udp_ports


def test_agents_may_die_and_hosts_be_cut_off(stack: Stack, engine: Engine, secret: str) -> None:
    eventually(lambda: length(engine, "one", "two") == "300000", what="one does not reach two")
    template = "{{.NetworkSettings.Networks.secret.IPAddress}}"
    address = engine.docker("inspect", "--format", template, "two").checked().out
    engine.docker("exec", "-d", "one", "sh", "-c", ASK.format(address=address)).checked()
    eventually(lambda: count(engine, "one", "/passed"), what="one does not ask two")
    for host in ("host1", "host2"):
        stack.kill(f"agent-{host}")
        stack.start(f"agent-{host}")
    before = count(engine, "one", "/passed")
    eventually(lambda: count(engine, "one", "/passed") > before + 1, what="one asks no more")
    assert count(engine, "one", "/lost") == 0
    stack.cut("host2")
    stack.heal("host2")
    eventually(lambda: length(engine, "one", "two") == "300000", what="one is cut off for good")


def test_nothing_is_left_of_an_encrypted_network(
    stack: Stack, engine: Engine, request: pytest.FixtureRequest
) -> None:
    def tunnels() -> set[str]:
        now = census.taken(stack)
        return {name for name in now.links | now.processes if "fw-" in name}

    eventually(lambda: not tunnels(), what="a tunnel of an earlier network stays")
    request.getfixturevalue("secret")
    # An interface on each host, and where the kernel has no WireGuard a process.
    assert len(tunnels()) in (2, 4)
    engine.docker("rm", "-f", "one", "two").checked()
    engine.docker("network", "rm", "secret").checked()
    eventually(lambda: not tunnels(), what="a tunnel stays")
