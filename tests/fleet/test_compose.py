"""An ordinary compose file on three hosts, by Compose v1 and v2: no word of the fleet in it."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flotilla_testing.clients import eventually
from flotilla_testing.engines import Engine, Result
from flotilla_testing.fixtures import load_images
from flotilla_testing.stacks import Stack, running_stack

FILE = """
version: "3"
services:
  web:
    image: busybox
    command: ["sh", "-c", "echo hello > /index.html && exec httpd -f -p 8000 -h /"]
    ports: ["8000"]
    depends_on: [api]
  api:
    image: busybox
    command: ["sleep", "100000"]
    stop_signal: SIGKILL
    depends_on: [db]
  db:
    image: busybox
    command: ["sh", "-c", "echo kept > /data/file && exec sleep 100000"]
    stop_signal: SIGKILL
    volumes: ["data:/data"]
  worker:
    image: busybox
    command: ["sleep", "100000"]
    stop_signal: SIGKILL
volumes:
  data: {}
"""
_PLUGINS = (
    Path("/opt/docker-ref/cli-plugins/docker-compose"),
    Path("/usr/libexec/docker/cli-plugins/docker-compose"),
    Path("/usr/lib/docker/cli-plugins/docker-compose"),
)


@pytest.fixture(scope="module")
def three_hosts(image_folder: Path) -> Iterator[Stack]:
    with running_stack(hosts=3) as running:
        load_images(running.engine, image_folder)
        yield running


@dataclass
class Project:
    """A compose project in a folder, and the command that drives it."""

    command: list[str]
    folder: Path
    engine: Engine
    name: str

    def compose(self, *arguments: str) -> Result:
        done = subprocess.run(
            [*self.command, "-p", self.name, *arguments],
            cwd=self.folder,
            env=self.engine.environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Result(done.returncode, done.stdout, done.stderr).checked()

    def containers(self) -> dict[str, str]:
        """Return the node of each running container, by name."""
        names = self.engine.docker(
            "ps", "-q", "--filter", f"label=com.docker.compose.project={self.name}"
        ).checked()
        if not names.lines:
            return {}
        found = json.loads(self.engine.docker("inspect", *names.lines).checked().stdout)
        return {one["Name"].removeprefix("/"): one["Node"]["Name"] for one in found}

    def reaches(self, source: str, target: str) -> bool:
        command = ("exec", source, "ping", "-c", "1", "-W", "2", target)
        return self.engine.docker(*command).code == 0


def compose_command(version: str) -> list[str]:
    if version == "v1":
        found = shutil.which("docker-compose")
        return [found] if found else []
    return next(([str(plugin)] for plugin in _PLUGINS if plugin.exists()), [])


@pytest.fixture(params=["v1", "v2"])
def project(
    request: pytest.FixtureRequest, three_hosts: Stack, tmp_path: Path
) -> Iterator[Project]:
    command = compose_command(request.param)
    if not command:
        pytest.skip(f"Compose {request.param} is not installed")
    (tmp_path / "docker-compose.yml").write_text(FILE)
    made = Project(command, tmp_path, three_hosts.engine, f"project{request.param}")
    yield made
    made.compose("down", "-v", "-t", "1")


def test_a_stack_comes_up_scales_restarts_and_goes(project: Project) -> None:
    project.compose("up", "-d")
    nodes = project.containers()
    assert len(nodes) == 4
    assert set(nodes.values()) == {"host1", "host2", "host3"}
    worker = next(name for name in nodes if "worker" in name)
    for service in ("web", "api", "db"):
        eventually(lambda service=service: project.reaches(worker, service))  # type: ignore[misc]
    fetch = ("exec", worker, "wget", "-qO-", "http://web:8000/")
    eventually(lambda: project.engine.docker(*fetch).out == "hello")

    project.compose("up", "-d", "--scale", "worker=6")
    nodes = project.containers()
    workers = [name for name in nodes if "worker" in name]
    assert len(workers) == 6
    assert {nodes[name] for name in workers} == {"host1", "host2", "host3"}
    api = next(name for name in nodes if "api" in name)
    for name in workers:
        eventually(lambda name=name: project.reaches(api, name))  # type: ignore[misc]
        eventually(lambda name=name: project.reaches(name, "db"))  # type: ignore[misc]
    look_up = ("exec", api, "nslookup", "worker")
    eventually(lambda: project.engine.docker(*look_up).stdout.count("\nAddress") >= 7)

    project.compose("restart", "-t", "1")
    assert project.containers() == nodes
    eventually(lambda: project.reaches(api, "web") and project.reaches(workers[0], "db"))
    database = next(name for name in nodes if "db" in name)
    assert project.engine.docker("exec", database, "cat", "/data/file").out == "kept"

    project.compose("down", "-v", "-t", "1")
    assert project.containers() == {}
    left = project.engine.docker("volume", "ls", "-q").out
    assert left == ""
    networks = project.engine.docker("network", "ls", "--format", "{{.Name}}").lines
    assert sorted(networks) == ["bridge", "host", "none"]
