"""`flotilla up` and `down` on simulated hosts and on a host itself."""

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flotilla_testing.engines import Engine, Result
from flotilla_testing.fixtures import load_images
from flotilla_testing.stacks import PREFIX, Stack
from flotilla_testing.waiting import eventually


def pids(stack: Stack) -> dict[str, str]:
    """Return the process of each service that is up, as `flotilla status` says."""
    lines = [line.split() for line in stack.flotilla("status").checked().lines]
    return {line[0]: line[2] for line in lines if len(line) > 2 and line[1] == "up"}


def test_status_names_services_and_nodes(stack: Stack) -> None:
    assert set(pids(stack)) == {
        "nats",
        "image-store",
        "registry-proxy",
        "gateway",
        "agent-host1",
        "agent-host2",
    }
    said = stack.flotilla("status").out
    assert re.search(r"^host1 +ready", said, re.MULTILINE)
    assert re.search(r"^host2 +ready", said, re.MULTILINE)


def test_up_again_starts_only_what_is_down(stack: Stack) -> None:
    before = pids(stack)
    stack.kill("registry-proxy")
    assert "registry-proxy" not in pids(stack)
    stack.up()
    after = pids(stack)
    assert after.pop("registry-proxy") != before.pop("registry-proxy")
    assert after == before


def test_node_list_has_labels_that_were_set(stack: Stack) -> None:
    stack.flotilla("node", "label", "host1", "disk=ssd").checked()
    listed = stack.flotilla("node", "ls").checked().lines
    assert any("host1" in line and "disk=ssd" in line for line in listed)
    assert not any("host2" in line and "disk=ssd" in line for line in listed)


class LoneHost:
    """A machine of its own, as far as networks go: `flotilla up` without simulated hosts."""

    def __init__(self, namespace: str, name: str, data_dir: Path) -> None:
        """Describe it; the namespace is there already."""
        self._namespace = namespace
        self.name = name
        self.data_dir = data_dir
        self.engine = Engine(f"unix:///run/flotilla/{name}/docker.sock")

    def run(self, *command: str) -> Result:
        """Run a command on the machine."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self._namespace}", "--", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
            stdin=subprocess.DEVNULL,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def flotilla(self, *arguments: str) -> Result:
        """Run `flotilla … --name NAME` on the machine."""
        return self.run(sys.executable, "-m", "flotilla_cli", *arguments, "--name", self.name)

    def up(self) -> None:
        """Bring the stack up."""
        result = self.flotilla("up", "--data-dir", str(self.data_dir))
        assert result.code == 0, f"{result.stderr}\n{self.flotilla('logs').stdout}"


@pytest.fixture
def lone_host(tmp_path: Path) -> Iterator[LoneHost]:
    name = f"{PREFIX}-{os.getpid()}-{uuid.uuid4().int % 10**6}"
    namespace = f"flt-{name}-lone"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "up"], check=True)
    host = LoneHost(namespace, name, tmp_path / "data")
    yield host
    host.flotilla("down", "--purge", "--time", "0")
    subprocess.run(["ip", "netns", "del", namespace], check=True)


def test_one_host_stops_its_containers_and_restarts_those_that_want_it(
    lone_host: LoneHost, image_folder: Path
) -> None:
    links = lone_host.run("ip", "-o", "link").out
    lone_host.up()
    docker = lone_host.engine.docker
    load_images(lone_host.engine, image_folder)
    docker("run", "-d", "--name", "goes", "busybox", "sleep", "1000").checked()
    docker(
        "run", "-d", "--name", "stays", "--restart", "always", "busybox", "sleep", "1000"
    ).checked()
    assert docker("exec", "stays", "echo", "here").out == "here"

    lone_host.flotilla("down", "--time", "0").checked()
    assert lone_host.run("ip", "-o", "link").out == links
    assert lone_host.run("nft", "list", "ruleset").out == ""
    assert str(lone_host.data_dir) not in Path("/proc/self/mountinfo").read_text()

    lone_host.up()
    assert docker("inspect", "--format", "{{.State.Status}}", "goes").checked().out == "exited"
    running = ("inspect", "--format", "{{.State.Running}}", "stays")
    eventually(lambda: docker(*running).out == "true")


def test_host_that_lost_power_comes_back_with_its_containers(stack: Stack, engine: Engine) -> None:
    docker = engine.docker
    on_host1 = ("--label", "flotilla.node=host1")
    docker("run", "-d", "--name", "goes", *on_host1, "busybox", "sleep", "1000").checked()
    always = ("--restart", "always")
    docker("run", "-d", "--name", "stays", *on_host1, *always, "busybox", "sleep", "1000").checked()
    stack.flotilla("host", "kill", "host1").checked()
    try:
        listed = docker("ps", "--all", "--format", "{{.Names}}").checked().lines
        assert {"goes", "stays"} <= set(listed)
    finally:
        stack.flotilla("host", "start", "host1").checked()
    status = ("inspect", "--format", "{{.State.Status}}")  # Running is true of "restarting" too
    eventually(lambda: docker(*status, "stays").out == "running")
    eventually(lambda: docker(*status, "goes").out == "exited")
    assert docker("exec", "stays", "echo", "here").checked().out == "here"
