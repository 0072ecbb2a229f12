"""Where containers and volumes go on two hosts, and how each host is seen alone."""

import contextlib
import http.client
import socket
from collections.abc import Iterator

import httpx
import pytest

from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker
from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually


def node_of(docker: Docker, container: str) -> str:
    return docker("inspect", "--format", "{{.Node.Name}}", container).checked().out


def run(docker: Docker, name: str, *options: str) -> str:
    """Start a container that sleeps; returns its node."""
    docker("run", "-d", "--name", name, *options, "busybox", "sleep", "100000").checked()
    return node_of(docker, name)


def test_containers_are_spread_over_the_hosts(docker: Docker) -> None:
    nodes = [run(docker, f"spread{number}") for number in range(4)]
    assert sorted(nodes) == ["host1", "host1", "host2", "host2"]
    listed = docker("ps", "--format", "{{.Names}}", "--filter", "node=host1").checked().lines
    assert len([name for name in listed if name.startswith("spread")]) == 2


def test_wishes_are_met_or_refused_with_the_reason(docker: Docker) -> None:
    assert run(docker, "first", "--label", "flotilla.node=host2") == "host2"
    assert run(docker, "second", "-e", "constraint:node==host1") == "host1"
    assert run(docker, "third", "-e", "affinity:container==first") == "host2"
    refused = docker("run", "--rm", "-e", "constraint:disk==ssd", "busybox", "true")
    assert refused.code == 125
    assert "no node can run this container: host1: constraint disk==ssd not met" in refused.stderr


def test_a_node_view_shows_that_node_alone(docker: Docker, api: httpx.Client) -> None:
    run(docker, "here", "--label", "flotilla.node=host1")
    run(docker, "there", "--label", "flotilla.node=host2")
    names = [one["Names"][0] for one in api.get("/on/host1/containers/json").json()]
    assert "/here" in names
    assert "/there" not in names
    assert api.get("/on/host1/containers/there/json").status_code == 404
    body = {"Image": "busybox", "Cmd": ["true"]}
    made = api.post("/on/host2/containers/create", json=body).json()["Id"]
    assert node_of(docker, made) == "host2"
    assert api.get("/on/nowhere/containers/json").status_code == 404


def test_a_volume_stays_at_home_until_it_is_moved(docker: Docker, stack: Stack) -> None:
    write = ("sh", "-c", "echo kept > /data/file; chown 7:8 /data; chmod 700 /data")
    on_host1 = ("--label", "flotilla.node=host1", "-v", "wanderer:/data")
    docker("run", "--rm", *on_host1, "busybox", *write).checked()
    for _ in range(2):
        read = docker("run", "--rm", "-v", "wanderer:/data", "busybox", "cat", "/data/file")
        assert read.checked().out == "kept"
    holder = run(docker, "holder", "-v", "wanderer:/data")
    assert holder == "host1"
    in_use = stack.flotilla("volume", "move", "wanderer", "host2")
    assert in_use.code != 0
    assert "in use" in in_use.stderr
    docker("rm", "-f", "holder").checked()
    stack.flotilla("volume", "move", "wanderer", "host2").checked()
    assert run(docker, "mover", "-v", "wanderer:/data") == "host2"
    assert docker("exec", "mover", "cat", "/data/file").checked().out == "kept"
    assert docker("exec", "mover", "stat", "-c", "%u:%g %a", "/data").checked().out == "7:8 700"
    in_use = docker("volume", "rm", "wanderer")
    assert "volume is in use" in in_use.stderr


def test_a_volume_with_options_moves_without_content(docker: Docker, stack: Stack) -> None:
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "--label", "flotilla.node=host1")
    docker("volume", "create", "fleeting", *options).checked()
    stack.flotilla("volume", "move", "fleeting", "host2").checked()
    assert run(docker, "user", "-v", "fleeting:/data") == "host2"


@pytest.fixture
def drained(stack: Stack) -> Iterator[str]:
    stack.flotilla("node", "drain", "host1").checked()
    yield "host1"
    stack.flotilla("node", "undrain", "host1").checked()


def test_a_drained_node_gets_no_new_containers(docker: Docker, drained: str) -> None:
    assert {run(docker, f"moved{number}") for number in range(3)} == {"host2"}


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def answer(host: str, port: int) -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()


def served(engine: Engine) -> int:
    """Publish a port on host2 until it is one that was free here; returns it."""
    serve = "echo from-afar > /index.html && exec httpd -f -p 80 -h /"
    for attempt in range(4):
        port = free_port()
        engine.docker(
            *("run", "-d", "--name", f"web{attempt}", "--label", "flotilla.node=host2"),
            *("-p", f"{port}:80", "busybox", "sh", "-c", serve),
        ).checked()
        with contextlib.suppress(AssertionError):
            eventually(lambda port=port: answer("127.0.0.1", port), timeout_s=15)  # type: ignore[misc]
            return port
    raise AssertionError("no published port answers at 127.0.0.1")


def test_a_published_port_answers_at_the_gateways_address(engine: Engine) -> None:
    port = served(engine)
    assert answer("127.0.0.1", port) == b"from-afar\n"
    if has_ipv6():
        eventually(lambda: answer("::1", port) == b"from-afar\n", what="no answer at ::1")
    names = engine.docker("ps", "-q", "--filter", f"publish={port}").checked().lines
    engine.docker("rm", "-f", *names).checked()
    eventually(lambda: not answer("127.0.0.1", port), what="the port still answers")
