"""Volumes and mounts: the operations, what is refused, and what becomes of the data."""

import json
from pathlib import Path

import httpx
import pytest

from flotilla_testing.clients import Inspect, Start, created, eventually
from flotilla_testing.fixtures import Docker


def mounted(**fields: object) -> dict[str, object]:
    """Return the body of a create with one mount at /x."""
    return {"Cmd": ["true"], "HostConfig": {"Mounts": [{"Target": "/x", **fields}]}}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Name": "data", "Driver": "nope"}, 404, 'volume plugin nope: plugin "nope" not found'),
        ({"Name": "x"}, 400, "create x: volume name is too short"),
        ({"Name": "a/b"}, 400, 'create a/b: "a/b" includes invalid characters'),
        ({"Name": "a" * 256}, 400, "file name too long"),
        ({"Name": "data", "DriverOpts": {"foo": "1"}}, 400, 'create data: invalid option: "foo"'),
        ({"Name": "data", "DriverOpts": {"o": "bind"}}, 400, 'missing required option: "device"'),
        ({"Name": "data", "DriverOpts": {"size": "xx"}}, 400, "create data: invalid size: 'xx'"),
        ({"Name": "data", "DriverOpts": {"size": "1g"}}, 400, "no quota support"),
    ],
)
def test_create_refuses(api: httpx.Client, body: dict[str, object], status: int, text: str) -> None:
    answer = api.post("/volumes/create", json=body)
    assert answer.status_code in (status, 500)  # dockerd says 500 to long names
    assert text in answer.json()["message"]
    assert api.get("/volumes/data").status_code == 404


@pytest.mark.parametrize(
    ("mount", "status", "text"),
    [
        ({"Type": "volume", "Source": "data", "VolumeOptions": {"DriverConfig": {"Name": "nope"}}},
         404, 'create data: error looking up volume plugin nope: plugin "nope" not found'),
        ({"Type": "volume", "Source": "data",
          "VolumeOptions": {"DriverConfig": {"Options": {"foo": "1"}}}},
         400, 'create data: invalid option: "foo"'),
        ({"Type": "bind", "Source": "/not/there"}, 400, "bind source path does not exist"),
    ],
)  # fmt: skip
def test_a_container_with_a_wrong_mount_leaves_no_volume(
    api: httpx.Client, mount: dict[str, object], status: int, text: str
) -> None:
    answer = api.post("/containers/create", json={"Image": "busybox", **mounted(**mount)})
    assert (answer.status_code, text in answer.json()["message"]) == (status, True)
    assert api.get("/volumes/data").status_code == 404


def test_prune_leaves_named_used_and_special_volumes(docker: Docker, start: Start) -> None:
    start("-v", "used:/x")
    docker("volume", "create", "named").checked()
    docker("volume", "create", "kept", "--label", "keep").checked()
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs")
    docker("volume", "create", "special", *options).checked()
    anonymous = docker("volume", "create").checked().out
    assert anonymous in docker("volume", "prune", "-f").checked().lines
    assert {"kept", "named", "special", "used"} <= set(docker("volume", "ls", "-q").lines)
    docker("volume", "prune", "-af", "--filter", "label!=keep").checked()
    left = set(docker("volume", "ls", "-q").lines)
    assert {"kept", "special", "used"} <= left
    assert not {"named", anonymous} & left
    refused = docker("volume", "rm", "-f", "used")
    assert "remove used: volume is in use - [" in refused.stderr


def test_operations_are_events(docker: Docker) -> None:
    since = docker("info", "--format", "{{.SystemTime}}").checked().out
    docker("volume", "create", "one").checked()
    docker("run", "--rm", "-v", "one:/x", "-v", "two:/y", "busybox", "true").checked()
    docker("volume", "rm", "one").checked()
    docker("volume", "prune", "-af").checked()

    def seen() -> list[str]:
        until = docker("info", "--format", "{{.SystemTime}}").checked().out
        told = docker(
            "events", "--since", since, "--until", until, "--filter", "type=volume",
            "--format", "{{.Action}} {{.Actor.ID}}",
        ).checked()  # fmt: skip
        lines = [line.strip() for line in told.lines if "mount" not in line]
        return [line for line in lines if line.split()[-1] in ("one", "two", "prune")]

    wanted = ["create one", "create two", "destroy one", "destroy two", "prune"]
    eventually(lambda: seen() == wanted)


def test_an_anonymous_volume_outlives_its_container_while_another_has_it(
    docker: Docker, inspect: Inspect
) -> None:
    docker("run", "--name", "first", "-v", "/data", "busybox", "touch", "/data/file").checked()
    docker("create", "--name", "second", "--volumes-from", "first:ro", "busybox",
           "ls", "/data").checked()  # fmt: skip
    name = inspect("first")["Mounts"][0]["Name"]
    docker("rm", "-v", "first").checked()
    assert docker("start", "-a", "second").checked().out == "file"
    docker("rm", "-v", "second").checked()
    assert docker("volume", "inspect", name).code == 1


def test_a_named_use_of_an_anonymous_volume_keeps_it(docker: Docker, inspect: Inspect) -> None:
    docker("create", "--name", "first", "-v", "/data", "busybox").checked()
    name = inspect("first")["Mounts"][0]["Name"]
    docker("create", "--name", "second", "-v", f"{name}:/data", "busybox").checked()
    docker("rm", "-v", "first").checked()
    docker("rm", "-v", "second").checked()
    docker("volume", "inspect", name).checked()


def test_run_rm_takes_anonymous_volumes_only(docker: Docker, inspect: Inspect) -> None:
    docker(
        "create", "--rm", "--name", "brief", "-v", "/own", "-v", "named:/n", "busybox", "true"
    ).checked()
    names = {mount["Name"] for mount in inspect("brief")["Mounts"]}
    docker("start", "-a", "brief").checked()
    eventually(lambda: names & set(docker("volume", "ls", "-q").lines) == {"named"})


def test_volumes_from_is_shown_as_given(docker: Docker, inspect: Inspect) -> None:
    docker("create", "--name", "first", "-v", "vol:/data", "busybox").checked()
    docker("create", "--name", "second", "--volumes-from", "first:ro", "busybox").checked()
    found = inspect("second")
    assert found["HostConfig"]["VolumesFrom"] == ["first:ro"]
    point = found["Mounts"][0]
    assert (point["Name"], point["Mode"], point["RW"]) == ("vol", "", False)


def test_options_of_tmpfs_are_merged_and_checked(api: httpx.Client, docker: Docker) -> None:
    wanted = "/x:size=1m,size=2m,nosuid,suid,defaults"
    shown = docker("run", "--rm", "--tmpfs", wanted, "busybox", "grep", " /x ", "/proc/mounts").out
    assert "size=2048k" in shown
    assert "nosuid" not in shown
    identifier = created(api, {"Cmd": ["true"], "HostConfig": {"Tmpfs": {"/x": "foo=1"}}})
    refused = api.post(f"/containers/{identifier}/start")
    assert refused.json() == {"message": 'invalid tmpfs option "foo"'}


def test_subpaths_do_not_lead_out_of_their_volume(docker: Docker) -> None:
    script = "mkdir -p /x/a/b; ln -s a/b /x/link; ln -s /etc /x/out; ln -s ../.. /x/up"
    docker("run", "--rm", "-v", "vol:/x", "busybox", "sh", "-c", script).checked()

    def at(subpath: str) -> str:
        mount = f"type=volume,src=vol,dst=/x,volume-subpath={subpath}"
        done = docker("run", "--rm", "--mount", mount, "busybox", "ls", "/x")
        return done.out if done.code == 0 else done.stderr

    assert at("a") == "b"
    assert at("link") == ""
    assert "path concatenation escapes the base directory" in at("out")
    assert "path concatenation escapes the base directory" in at("up")
    assert "no such file or directory" in at("nope")


def test_image_content_goes_into_what_the_options_mount(docker: Docker, tmp_path: Path) -> None:
    """The folder is made by the engine, so that it is on the engine's host."""
    docker("run", "--rm", "-v", f"{tmp_path}/bound:/b", "busybox", "true").checked()
    options = ("-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}/bound")
    docker("volume", "create", "bound", *options).checked()
    docker("create", "--name", "filled", "-v", "bound:/etc", "busybox").checked()
    listed = docker("run", "--rm", "-v", f"{tmp_path}/bound:/b", "busybox", "ls", "/b").checked()
    assert "passwd" in listed.lines


def test_inspect_and_usage(docker: Docker, api: httpx.Client, start: Start) -> None:
    docker("volume", "create", "vol", "--label", "a=b").checked()
    identifier = start("-v", "vol:/x")
    docker("exec", identifier, "dd", "if=/dev/zero", "of=/x/f", "bs=1000", "count=5").checked()
    shown = json.loads(docker("volume", "inspect", "vol").checked().stdout)[0]
    assert (shown["Driver"], shown["Labels"], shown["Options"]) == ("local", {"a": "b"}, None)
    used = api.get("/system/df", params={"type": "volume"}).json()["Volumes"]
    usage = {one["Name"]: one["UsageData"] for one in used}
    assert usage["vol"] == {"RefCount": 1, "Size": 5000}
    listed = docker("volume", "ls", "-q", "-f", "dangling=false", "-f", "label=a").lines
    assert listed == ["vol"]
