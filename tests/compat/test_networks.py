"""`docker network` and `docker volume`, one host's worth of it."""

import json

import httpx
import pytest

from flotilla_testing.clients import Inspect, Start
from flotilla_testing.fixtures import Docker


def test_network_life(docker: Docker, start: Start, inspect: Inspect) -> None:
    docker(
        "network", "create", "--subnet", "10.77.0.0/24", "--gateway", "10.77.0.1",
        "--label", "a=b", "cn-one",
    ).checked()  # fmt: skip
    document = json.loads(docker("network", "inspect", "cn-one").stdout)[0]
    assert document["IPAM"]["Config"] == [{"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.1"}]
    assert (document["Driver"], document["Labels"]) == ("bridge", {"a": "b"})
    identifier = start("--network", "cn-one", "--ip", "10.77.0.9", "--network-alias", "alias")
    settings = inspect(identifier)["NetworkSettings"]["Networks"]["cn-one"]
    assert (settings["IPAddress"], settings["Gateway"]) == ("10.77.0.9", "10.77.0.1")
    assert settings["IPPrefixLen"] == 24
    members = json.loads(docker("network", "inspect", "cn-one").stdout)[0]["Containers"]
    assert members[identifier]["IPv4Address"] == "10.77.0.9/24"
    in_use = docker("network", "rm", "cn-one")
    assert "has active endpoints" in in_use.stderr
    docker("rm", "-f", identifier).checked()
    docker("network", "rm", "cn-one").checked()


def test_connect_and_disconnect_a_running_container(
    docker: Docker, start: Start, inspect: Inspect
) -> None:
    docker("network", "create", "cn-two").checked()
    identifier = start("--name", "cn-mover")
    docker("network", "connect", "--alias", "second", "cn-two", "cn-mover").checked()
    assert set(inspect(identifier)["NetworkSettings"]["Networks"]) == {"bridge", "cn-two"}
    assert "eth1" in docker("exec", "cn-mover", "ls", "/sys/class/net").stdout.split()
    script = ("ping", "-c", "1", "-W", "10", "second")
    docker("run", "--rm", "--network", "cn-two", "busybox", *script).checked()
    again = docker("network", "connect", "cn-two", "cn-mover")
    assert "already exists in network" in again.stderr
    docker("network", "disconnect", "cn-two", "cn-mover").checked()
    assert set(inspect(identifier)["NetworkSettings"]["Networks"]) == {"bridge"}
    assert docker("exec", "cn-mover", "ls", "/sys/class/net").stdout.split() == ["eth0", "lo"]


def test_names_are_found_in_user_networks_only(docker: Docker, start: Start) -> None:
    docker("network", "create", "cn-names").checked()
    start("--network", "cn-names", "--name", "cn-server", "--hostname", "cn-host")
    for name in ("cn-server", "cn-host"):
        script = ("ping", "-c", "1", "-W", "10", name)
        docker("run", "--rm", "--network", "cn-names", "busybox", *script).checked()
    start("--name", "cn-other")
    unknown = docker("run", "--rm", "busybox", "ping", "-c", "1", "-W", "1", "cn-other")
    assert unknown.code == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("create", "bridge"), "operation is not permitted on predefined bridge network"),
        (("create", "--driver", "nope", "cn-x"), 'nope" not found'),
        (("create", "--subnet", "10.0.0.0/99", "cn-x"), "invalid"),
        (("rm", "cn-none"), "network cn-none not found"),
        (("rm", "bridge"), "bridge is a pre-defined network and cannot be removed"),
        (("inspect", "cn-none"), "network cn-none not found"),
    ],
)
def test_network_errors(docker: Docker, arguments: tuple[str, ...], text: str) -> None:
    result = docker("network", *arguments)
    assert result.code != 0
    assert text in result.stderr


def test_network_filters(docker: Docker) -> None:
    docker("network", "create", "--label", "cn=1", "cn-three").checked()
    base = ("network", "ls", "--format", "{{.Name}}", "--filter")
    assert docker(*base, "label=cn").lines == ["cn-three"]
    assert docker(*base, "name=cn-thr").lines == ["cn-three"]
    assert set(docker(*base, "type=builtin").lines) == {"bridge", "host", "none"}
    assert "cn-three" in docker(*base, "dangling=true").lines
    pruned = docker("network", "prune", "-f", "--filter", "label=cn").checked()
    assert "cn-three" in pruned.stdout


def test_volume_life(docker: Docker) -> None:
    docker("volume", "create", "--label", "cv=1", "cv-one").checked()
    docker("run", "--rm", "-v", "cv-one:/v", "busybox", "sh", "-c", "echo x >/v/file").checked()
    assert docker("run", "--rm", "-v", "cv-one:/v", "busybox", "cat", "/v/file").out == "x"
    document = json.loads(docker("volume", "inspect", "cv-one").stdout)[0]
    assert (document["Driver"], document["Scope"]) == ("local", "local")
    assert document["Mountpoint"].endswith("/_data")
    docker("create", "--name", "cv-user", "-v", "cv-one:/v", "busybox", "true").checked()
    in_use = docker("volume", "rm", "cv-one")
    assert "volume is in use" in in_use.stderr
    docker("rm", "cv-user").checked()
    assert docker("volume", "ls", "-q", "--filter", "label=cv").lines == ["cv-one"]
    assert docker("volume", "ls", "-q", "--filter", "dangling=false").lines == []
    docker("volume", "rm", "cv-one").checked()
    missing = docker("volume", "rm", "cv-one")
    assert "get cv-one: no such volume" in missing.stderr


def test_volume_options(docker: Docker) -> None:
    options = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m")
    docker("volume", "create", *options, "cv-tmpfs").checked()
    script = "df -k /v | tail -1 | awk '{print $2}'"
    assert docker("run", "--rm", "-v", "cv-tmpfs:/v", "busybox", "sh", "-c", script).out == "1024"


def test_volume_prune_takes_anonymous_ones_only(docker: Docker) -> None:
    docker("volume", "create", "--label", "cv=2", "cv-kept").checked()
    anonymous = docker("volume", "create", "--label", "cv=2").checked().out
    docker("volume", "prune", "-f", "--filter", "label=cv=2").checked()
    listed = docker("volume", "ls", "-q").lines
    assert "cv-kept" in listed
    assert anonymous not in listed
    docker("volume", "prune", "-af", "--filter", "label=cv=2").checked()
    assert "cv-kept" not in docker("volume", "ls", "-q").lines


def test_wrong_volume_names_are_400(api: httpx.Client) -> None:
    answer = api.post("/volumes/create", json={"Name": "a b"})
    assert answer.status_code == 400
    assert "includes invalid characters for a local volume name" in answer.json()["message"]
