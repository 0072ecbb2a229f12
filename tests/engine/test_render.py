"""Tests of ``flotilla_engine.render``."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from flotilla_engine.config import ContainerConfig
from flotilla_engine.events import Actor, EventMessage
from flotilla_engine.exec import ExecConfig
from flotilla_engine.host_config import HostConfig, PortBinding
from flotilla_engine.mounts import MountPoint
from flotilla_engine.networking import EndpointSettings
from flotilla_engine.records import (
    ContainerRecord,
    ContainerSize,
    ExecRecord,
    ImageRecord,
    NetworkRecord,
    NodeRecord,
    NodeState,
    VolumeRecord,
)
from flotilla_engine.render import (
    container_summary,
    event_fields,
    exec_inspect,
    image_inspect,
    image_summary,
    inspect_container,
    network_fields,
    status_text,
    volume_fields,
)
from flotilla_engine.state import ContainerState, Health

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NODE = NodeRecord(id="n1", name="one", address="10.0.0.1", labels={"disk": "ssd"}, cpus=2)


def record(**changes: Any) -> ContainerRecord:
    endpoint = EndpointSettings(
        network_id="f" * 64, ip_address="172.18.0.2", ip_prefix_len=16, aliases=["al"]
    )
    fields: dict[str, Any] = {
        "id": "a" * 64,
        "name": "web",
        "node_id": "n1",
        "created": NOW - timedelta(minutes=3),
        "image_id": "sha256:" + "b" * 64,
        "image": "busybox",
        "path": "sh",
        "args": ["-c", "sleep 1"],
        "config": ContainerConfig(image="busybox", cmd=["-c", "sleep 1"]),
        "host_config": HostConfig(network_mode="n1", annotations={"a": "b"}),
        "state": ContainerState(
            status="running", running=True, started_at=NOW - timedelta(minutes=2)
        ),
        "networks": {"n1": endpoint},
        "ports": {
            "443/tcp": None,
            "80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")],
        },
        "mounts": [MountPoint(type="volume", name="v", destination="/v", driver="local")],
    }
    return ContainerRecord(**{**fields, **changes})


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ContainerState(), "Created"),
        (ContainerState(running=True, started_at=NOW - timedelta(hours=5)), "Up 5 hours"),
        (
            ContainerState(running=True, paused=True, started_at=NOW),
            "Up Less than a second (Paused)",
        ),
        (
            ContainerState(running=True, started_at=NOW, health=Health(status="starting")),
            "Up Less than a second (health: starting)",
        ),
        (
            ContainerState(exit_code=137, started_at=NOW, finished_at=NOW - timedelta(seconds=3)),
            "Exited (137) 3 seconds ago",
        ),
        (
            ContainerState(
                running=True, restarting=True, exit_code=1, started_at=NOW, finished_at=NOW
            ),
            "Restarting (1) Less than a second ago",
        ),
        (ContainerState(dead=True), "Dead"),
        (ContainerState(status="removing"), "Removal In Progress"),
    ],
)
def test_status_is_told_as_docker_ps_does(state: ContainerState, text: str) -> None:
    assert status_text(state, NOW) == text


def test_summary_shows_what_the_list_shows() -> None:
    summary = container_summary(record(), (1, 45), node=NODE, now=NOW)
    assert orjson.dumps(summary)
    assert summary["Names"] == ["/web"]
    assert summary["Command"] == "sh -c 'sleep 1'"
    assert summary["Status"] == "Up 2 minutes"
    assert summary["Ports"] == [
        {"IP": "0.0.0.0", "PublicPort": 8080, "PrivatePort": 80, "Type": "tcp"},
        {"PrivatePort": 443, "Type": "tcp"},
    ]
    assert summary["HostConfig"] == {"NetworkMode": "n1"}
    assert "SizeRootFs" not in summary
    assert summary["Node"]["Name"] == "one"


def test_summary_follows_the_version_and_the_question() -> None:
    size = ContainerSize(rw_bytes=0, root_fs_bytes=7)
    summary = container_summary(record(), (1, 46), size=size, now=NOW)
    assert summary["HostConfig"]["Annotations"] == {"a": "b"}
    assert summary["SizeRootFs"] == 7
    assert "SizeRw" not in summary


def test_a_silent_nodes_containers_are_not_shown_as_running() -> None:
    silent = NODE.model_copy(
        update={"state": NodeState.UNREACHABLE, "last_seen": NOW - timedelta(minutes=5)}
    )
    summary = container_summary(record(), node=silent, now=NOW)
    assert summary["Status"] == "Unreachable for 5 minutes (was running)"


def test_inspect_has_nulls_where_dockerd_has_them() -> None:
    fields = inspect_container(record(), (1, 45), node=NODE)
    assert orjson.dumps(fields)
    assert fields["ExecIDs"] is None
    assert fields["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert "Health" not in fields["State"]
    assert fields["HostConfig"]["Binds"] is None
    assert fields["HostConfig"]["Dns"] == []
    assert "Sysctls" not in fields["HostConfig"]
    assert fields["Config"]["Volumes"] is None
    assert fields["Config"]["Entrypoint"] is None
    assert "SizeRw" not in fields
    assert fields["NetworkSettings"]["Ports"]["443/tcp"] is None
    assert fields["NetworkSettings"]["IPAddress"] == ""
    assert fields["Node"]["Labels"] == {"disk": "ssd"}


def test_inspect_follows_the_version() -> None:
    old = inspect_container(record(), (1, 43))["NetworkSettings"]["Networks"]["n1"]
    new = inspect_container(record(), (1, 48))["NetworkSettings"]["Networks"]["n1"]
    assert old["Aliases"] == ["al", "a" * 12]
    assert "GwPriority" not in old
    assert new["Aliases"] == ["al"]
    assert new["GwPriority"] == 0


def test_default_bridge_fills_the_deprecated_fields() -> None:
    networks = {"bridge": EndpointSettings(ip_address="172.17.0.2", ip_prefix_len=16)}
    settings = inspect_container(record(networks=networks))["NetworkSettings"]
    assert (settings["IPAddress"], settings["IPPrefixLen"]) == ("172.17.0.2", 16)


def test_exec_shows_its_process() -> None:
    config = ExecConfig(cmd=["ls", "-l"], attach_stdout=True)
    fields = exec_inspect(ExecRecord(id="e", container_id="c", config=config))
    assert fields["ProcessConfig"]["entrypoint"] == "ls"
    assert fields["ProcessConfig"]["arguments"] == ["-l"]
    assert (fields["OpenStdout"], fields["ExitCode"]) == (True, None)


def test_events_have_the_old_fields_for_containers_and_images_only() -> None:
    event = EventMessage(
        type="container", action="start", actor=Actor(id="c", attributes={"image": "busybox"})
    )
    assert event_fields(event)["from"] == "busybox"
    assert event_fields(event)["status"] == "start"
    volume = EventMessage(type="volume", action="create", actor=Actor(id="v"))
    assert "status" not in event_fields(volume)


def test_images_follow_the_version() -> None:
    image = ImageRecord(id="sha256:x", created=NOW, size_bytes=5)
    assert image_inspect(image, (1, 43))["VirtualSize"] == 5
    assert "ContainerConfig" not in image_inspect(image, (1, 45))
    assert "Hostname" not in image_inspect(image, (1, 50))["Config"]
    assert image_summary(image, (1, 42))["RepoTags"] == ["<none>:<none>"]
    assert image_summary(image, (1, 45))["RepoTags"] == []


def test_networks_and_volumes_look_as_in_dockerd() -> None:
    network = NetworkRecord(id="1", name="host", driver="host", created=NOW)
    fields = network_fields(network, version=(1, 45))
    assert fields["IPAM"] == {"Driver": "default", "Options": None, "Config": None}
    assert "EnableIPv4" not in fields
    assert network_fields(network, version=(1, 48))["EnableIPv4"] is True
    record = VolumeRecord(name="v", created=NOW)
    silent = volume_fields(record, node_name="one", is_silent=True)
    assert silent["Status"] == {"Node": {"Name": "one", "Status": "unreachable"}}
    volume = volume_fields(record, node_name="one")
    assert (volume["Labels"], volume["Options"]) == (None, None)
    assert volume["CreatedAt"] == "2026-01-02T03:04:05Z"
    assert volume["Status"] == {"Node": {"Name": "one"}}
