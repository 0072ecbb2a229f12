"""Tests of ``flotilla_engine.validate``: the same answers as dockerd gives.

``dockerd_creates.json`` holds bodies of ``ContainerCreate`` and what dockerd 26.1.5 (two CPUs)
answered: the text of its error, or its list of warnings.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flotilla_core.errors import ConflictError, InvalidArgumentError
from flotilla_engine.bodies import decode, decode_create
from flotilla_engine.defaults import MASKED_PATHS, SHM_SIZE, fill_in, fill_in_on_node
from flotilla_engine.host_config import HostConfig
from flotilla_engine.networking import EndpointSettings, NetworkingConfig
from flotilla_engine.records import NetworkRecord, NodeInfo, NodeRecord
from flotilla_engine.updates import UpdateConfig
from flotilla_engine.validate import (
    check_create,
    check_endpoint,
    check_name,
    check_on_node,
    check_rename,
)
from flotilla_engine.validate.updates import check_update_of
from flotilla_engine.versions import Version

RECORDED = json.loads((Path(__file__).parent / "dockerd_creates.json").read_text())
NODE = NodeInfo(node=NodeRecord(id="n", name="n", address="", cpus=2), runtimes={"runc": {}})


def answer_to(body: dict[str, Any], version: Version = (1, 45)) -> object:
    try:
        create = decode_create(
            json.dumps({"Image": "busybox", **body}).encode(), "application/json"
        )
        host_config = create.host_config or HostConfig()
        networking = create.networking_config or NetworkingConfig()
        warnings = check_create(create, host_config, networking, version)
        return warnings + check_on_node(host_config, NODE)
    except InvalidArgumentError as error:
        return error.message


def test_every_recorded_create_is_answered_as_dockerd_does() -> None:
    differences = [
        (case["body"], case["answer"], answer)
        for case in RECORDED
        if (answer := answer_to(case["body"])) != case["answer"]
    ]
    assert not differences


def test_old_clients_are_measured_by_their_own_version() -> None:
    two: dict[str, Any] = {"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}}
    assert answer_to(two, (1, 43)) == (
        "Container cannot be created with multiple network endpoints: a, b"
    )
    assert answer_to(two, (1, 44)) == []
    assert answer_to({"HostConfig": {"KernelMemory": 5}}, (1, 41)) == (
        "Minimum kernel memory limit allowed is 6MB"
    )
    assert answer_to({"MacAddress": "02:42:ac:11:00:09"}, (1, 43)) == []
    image = {"HostConfig": {"Mounts": [{"Type": "image", "Source": "i", "Target": "/x"}]}}
    assert answer_to(image, (1, 48)) == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "invalid JSON: got EOF while reading request body"),
        (b"null", "config cannot be empty in order to create a container"),
        (b"{}", "config cannot be empty in order to create a container"),
        (b'{"Image":"a"}{}', "unexpected content after JSON"),
        (b'{"Tty":"x"}', "cannot unmarshal string into Go struct field"),
        (b'{"HostConfig":{"Memory":1.5}}', "HostConfig.Memory of type int64"),
        (b'{"HostConfig":{"Memory":99999999999999999999}}', "number 99999999999999999999"),
        (b'{"Cmd":[5]}', "ContainerCreateBody.Cmd"),
        (b'{"Labels":{"a":1}}', "Labels.a of type string"),
        (b"[]", "cannot unmarshal array into Go value"),
        (b'{"Image":"\xff"}', "invalid JSON"),
        (b"[" * 100_000, "invalid JSON"),
    ],
)
def test_bad_bodies_are_refused_naming_what_is_wrong(body: bytes, text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        decode_create(body, "application/json")
    assert text in caught.value.message


def test_content_type_must_be_json() -> None:
    with pytest.raises(InvalidArgumentError, match="unsupported Content-Type header"):
        decode(UpdateConfig, b"{}", "text/plain")
    assert decode(UpdateConfig, b"{}", "application/json; charset=utf-8").memory == 0


@pytest.mark.parametrize("name", ["a", "a b", "-a", "x/y", "", "é1"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="Invalid container name"):
        check_name(name)


def test_names_lose_their_slash() -> None:
    assert check_name("/ab") == "ab"
    with pytest.raises(InvalidArgumentError, match="same name"):
        check_rename("ab", "/ab")


def test_update_is_checked_against_what_the_container_has() -> None:
    with pytest.raises(ConflictError, match="memoryswap"):
        check_update_of(HostConfig(memory=2**20, memory_swap=2**21), UpdateConfig(memory=2**30))
    with pytest.raises(ConflictError, match="memoryswap"):
        check_update_of(HostConfig(), UpdateConfig(memory=2**30))
    with pytest.raises(InvalidArgumentError, match="AutoRemove"):
        check_update_of(
            HostConfig(auto_remove=True),
            decode(UpdateConfig, b'{"RestartPolicy":{"Name":"always"}}'),
        )


def test_endpoint_errors_are_listed_as_dockerd_lists_them() -> None:

    network = NetworkRecord(id="1", name="n1", created=datetime.now(UTC))
    settings = EndpointSettings.model_validate({"IPAMConfig": {"IPv4Address": "zz"}})
    with pytest.raises(InvalidArgumentError) as caught:
        check_endpoint(network, settings, configured_subnets=False)
    assert caught.value.message == (
        "invalid config for network n1: invalid endpoint settings:\n"
        "* invalid IPv4 address: zz\n"
        "* user specified IP address is supported only when connecting to networks "
        "with user configured subnets"
    )


def test_what_is_open_is_filled_in_as_inspect_shows_it() -> None:
    plain = HostConfig(memory=2**25, pids_limit=-1)
    fill_in(plain)
    assert (plain.memory_swap, plain.shm_size, plain.pids_limit) == (2**26, SHM_SIZE, None)
    assert (plain.network_mode, plain.ipc_mode, plain.runtime) == ("bridge", "private", "runc")
    assert plain.masked_paths == list(MASKED_PATHS)
    privileged = HostConfig(privileged=True)
    fill_in(privileged)
    assert privileged.masked_paths is None
    assert privileged.security_opt == ["label=disable"]
    fill_in_on_node(privileged, NODE.model_copy(update={"cgroup_version": "2"}))
    assert (privileged.cgroupns_mode, privileged.oom_kill_disable) == ("private", False)
    unified = HostConfig(oom_kill_disable=True)
    fill_in_on_node(unified, NODE.model_copy(update={"oom_kill_disable": False}))
    assert (unified.cgroupns_mode, unified.oom_kill_disable) == ("host", None)
