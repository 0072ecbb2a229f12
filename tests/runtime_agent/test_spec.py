"""From a container's configuration to ``config.json`` (``spec/``)."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest

from flotilla_core.errors import FlotillaError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.exec import ExecConfig
from flotilla_engine.host_config import (
    DeviceMapping,
    DeviceRequest,
    HostConfig,
    ThrottleDevice,
    Ulimit,
)
from flotilla_runtime_agent.spec import capabilities, cgroups, devices, mounts, seccomp, users
from flotilla_runtime_agent.spec.build import SpecInput, build, environment, exec_process
from flotilla_runtime_agent.spec.inroot import make_folders, read_in_root
from flotilla_runtime_agent.spec.mounts import PlannedMount


@pytest.fixture
def root(tmp_path: Path) -> Path:
    etc = tmp_path / "root/etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\nsailor:x:7:8::/:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\ncrew:x:8:\ndeck:x:9:sailor,root\n")
    return tmp_path / "root"


def _built(root: Path, host: HostConfig | None = None, **config: Any) -> dict[str, Any]:
    given = SpecInput(
        container_id="c" * 64,
        config=ContainerConfig(hostname="boat", **config),
        host=host or HostConfig(),
        command=["sh"],
        root=root,
        cgroup="/flotilla/c",
        netns=Path("/run/netns/c"),
        files={"/etc/hosts": Path("/data/hosts")},
    )
    return build(given)


def _namespaces(spec: dict[str, Any]) -> set[str]:
    return {space["type"] for space in spec["linux"]["namespaces"]}


def test_defaults_are_dockers(root: Path) -> None:
    spec = _built(root)
    process = spec["process"]
    assert process["user"] == {"uid": 0, "gid": 0, "additionalGids": [0, 9]}
    assert process["capabilities"]["bounding"] == [
        name for name in capabilities.DEFAULT if name in capabilities.available()
    ]
    assert {"mount", "network", "uts", "pid", "ipc"} <= _namespaces(spec)
    assert spec["linux"]["maskedPaths"] == mounts.MASKED_PATHS
    assert spec["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] == "0"
    places = [mount["destination"] for mount in spec["mounts"]]
    assert places[:6] == ["/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue"]
    assert places[-2:] == ["/dev/shm", "/etc/hosts"]
    assert spec["hostname"] == "boat"


def test_privileged_is_unconfined(root: Path) -> None:
    spec = _built(root, HostConfig(privileged=True))
    assert spec["process"]["capabilities"]["effective"] == list(capabilities.available())
    assert "seccomp" not in spec["linux"]
    assert "maskedPaths" not in spec["linux"]
    assert spec["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert any(device["path"] == "/dev/full" for device in spec["linux"]["devices"])
    assert all("ro" not in m["options"] for m in spec["mounts"] if m["destination"] == "/sys")


def test_modes_of_namespaces(root: Path) -> None:
    host = HostConfig(pid_mode="host", ipc_mode="host", uts_mode="host", cgroupns_mode="private")
    spec = _built(root, host)
    assert _namespaces(spec) == {"mount", "network", "cgroup"}
    assert "hostname" not in spec


def test_limits(root: Path) -> None:
    host = HostConfig(
        memory=64 << 20,
        nano_cpus=500_000_000,
        pids_limit=50,
        cpu_shares=512,
        oom_score_adj=10,
        ulimits=[Ulimit(name="nofile", soft=10, hard=20), Ulimit(name="memlock", soft=-1, hard=-1)],
    )
    spec = _built(root, host)
    resources = spec["linux"]["resources"]
    assert resources["memory"]["limit"] == 64 << 20
    assert resources["cpu"] == {"shares": 512, "period": 100_000, "quota": 50_000}
    assert resources["pids"] == {"limit": 50}
    assert spec["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "hard": 20, "soft": 10},
        {"type": "RLIMIT_MEMLOCK", "hard": 2**64 - 1, "soft": 2**64 - 1},
    ]
    assert spec["process"]["oomScoreAdj"] == 10


def test_read_only_root_keeps_kernel_mounts_writable(root: Path) -> None:
    spec = _built(root, HostConfig(readonly_rootfs=True))
    by_place = {mount["destination"]: mount["options"] for mount in spec["mounts"]}
    assert spec["root"]["readonly"]
    assert "ro" not in by_place["/dev/shm"]
    assert "rro" in by_place["/etc/hosts"]


def test_environment_overrides_and_removes() -> None:
    config = ContainerConfig(hostname="boat", tty=True, env=["PATH=/bin", "TERM", "A=b=c"])
    assert environment(config, ["LINK=1"]) == ["PATH=/bin", "HOSTNAME=boat", "LINK=1", "A=b=c"]


def test_users(root: Path) -> None:
    assert users.look_up(root, "sailor") == users.User(7, 8, [8, 9])
    assert users.look_up(root, "sailor:deck", ["5"]) == users.User(7, 9, [9, 5])
    assert users.look_up(root, "12:13") == users.User(12, 13, [13])
    for user, text in (
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("0:nobody", "unable to find group nobody: no matching entries in group file"),
        ("9999999999", "uids and gids must be in range 0-2147483647"),
    ):
        with pytest.raises(FlotillaError, match=text):
            users.look_up(root, user)


def test_files_of_the_root_are_found_through_its_own_links(root: Path) -> None:
    (root / "lnk").symlink_to("/etc")
    (root / "out").symlink_to("../../../../etc")
    assert read_in_root(root, "/lnk/group") == (root / "etc/group").read_bytes()
    assert read_in_root(root, "/out/passwd") == (root / "etc/passwd").read_bytes()
    make_folders(root, "/lnk/a/b")
    assert (root / "etc/a/b").is_dir()
    with pytest.raises(NotADirectoryError):
        make_folders(root, "/etc/passwd/x")


def test_seccomp_follows_capabilities() -> None:
    default = seccomp.from_security_options([], capabilities.DEFAULT, privileged=False)
    assert default is not None
    rules = {name: rule for rule in default["syscalls"] for name in rule["names"]}
    assert rules["clone3"]["errnoRet"] == 38
    assert "mount" not in rules
    assert "keyctl" not in rules
    assert "chroot" in rules
    admin = seccomp.from_security_options([], ["CAP_SYS_ADMIN"], privileged=False)
    assert admin is not None
    allowed = {name for rule in admin["syscalls"] for name in rule["names"] if "args" not in rule}
    assert {"mount", "unshare", "clone3", "clone"} <= allowed
    assert seccomp.from_security_options(["seccomp=unconfined"], [], privileged=False) is None
    own = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}'
    assert seccomp.from_security_options([f"seccomp={own}"], [], privileged=True) == {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [],
        "syscalls": [],
    }
    with pytest.raises(FlotillaError, match="Decoding seccomp profile failed"):
        seccomp.from_security_options(["seccomp=/no/json"], [], privileged=False)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of one architecture")
def test_seccomp_of_this_architecture() -> None:
    default = seccomp.from_security_options([], [], privileged=False)
    assert default is not None
    assert default["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert any("arch_prctl" in rule["names"] for rule in default["syscalls"])


def test_devices(root: Path) -> None:
    host = HostConfig(
        devices=[DeviceMapping(path_on_host="/dev/full", path_in_container="/dev/x")],
        device_cgroup_rules=["c 42:* rm"],
    )
    spec = _built(root, host)
    (device,) = spec["linux"]["devices"]
    assert (device["path"], device["major"], device["minor"]) == ("/dev/x", 1, 7)
    assert spec["linux"]["resources"]["devices"][-1] == {
        "allow": True,
        "type": "c",
        "major": 42,
        "access": "rm",
    }
    with pytest.raises(FlotillaError, match='custom device "/dev/nosuch": no such file'):
        devices.of_container(HostConfig(devices=[DeviceMapping(path_on_host="/dev/nosuch")]))
    with pytest.raises(FlotillaError, match=r"with capabilities: \[\[gpu\]\]"):
        devices.refuse_requests([DeviceRequest(capabilities=[["gpu"]])])


def test_unknown_block_device_is_refused() -> None:
    host = HostConfig(blkio_device_read_bps=[ThrottleDevice(path="/dev/nosuch", rate=1)])
    with pytest.raises(FlotillaError, match="no such file or directory"):
        cgroups.resources(host)


def test_mount_options() -> None:
    bind = PlannedMount(type="bind", source="/a", destination="/b", rw=False)
    assert mounts.planned(bind, "/a")["options"] == ["rbind", "rro", "rprivate"]
    tmpfs = PlannedMount(type="tmpfs", destination="/t", options=["exec", "size=1m"])
    assert mounts.planned(tmpfs, "")["options"] == [
        "nosuid",
        "nodev",
        "rprivate",
        "exec",
        "size=1m",
    ]


def test_mount_of_the_user_replaces_ours(root: Path) -> None:
    shm = mounts.planned(PlannedMount(type="tmpfs", destination="/dev/shm"), "")
    found = mounts.all_mounts(HostConfig(), [shm], shared_shm=None, files={}, init=Path("/i"))
    places = [mount["destination"] for mount in found]
    assert places.count("/dev/shm") == 1
    assert mounts.INIT_TARGET in places


def test_exec_inherits_and_overrides(root: Path) -> None:
    spec = _built(root, env=["A=1"])
    asked = ExecConfig(cmd=["id"], env=["A=2"], user="sailor", working_dir="/tmp")
    process = exec_process(spec["process"], asked, tty=True, root=root, user="")
    assert (process["args"], process["cwd"], process["user"]["uid"]) == (["id"], "/tmp", 7)
    assert {"A=2", "TERM=xterm"} <= set(process["env"])
    assert process["capabilities"] == spec["process"]["capabilities"]
