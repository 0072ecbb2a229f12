"""Every field of create takes effect in the container and reads back in inspect."""

import json
from typing import Any

import httpx
import pytest

from flotilla_testing.clients import Inspect, created
from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker

# (what it is about, options of docker run, command, its output, path in inspect, value there)
_FIELDS: list[tuple[str, tuple[str, ...], str, str, str, Any]] = [
    ("hostname", ("-h", "named"), "hostname", "named", "Config.Hostname", "named"),
    (
        "domainname", ("-h", "named", "--domainname", "example.org"),
        "hostname -f", "named.example.org", "Config.Domainname", "example.org",
    ),
    ("user", ("-u", "1000:2000"), "id -u; id -g", "1000\n2000", "Config.User", "1000:2000"),
    ("named user", ("-u", "user"), "id -u; id -G", "1000\n1000 2000", "Config.User", "user"),
    ("group-add", ("--group-add", "2000"), "id -G", "0 2000", "HostConfig.GroupAdd", ["2000"]),
    ("env", ("-e", "A=1", "-e", "EMPTY="), "echo $A${EMPTY-unset}", "1", "", None),
    ("workdir", ("-w", "/etc"), "pwd", "/etc", "Config.WorkingDir", "/etc"),
    ("label", ("--label", "a=b"), "true", "", "Config.Labels", {"a": "b"}),
    ("stop-signal", ("--stop-signal", "INT"), "true", "", "Config.StopSignal", "INT"),
    ("stop-timeout", ("--stop-timeout", "3"), "true", "", "Config.StopTimeout", 3),
    ("tty", ("-t",), "test -t 1 && echo tty", "tty", "Config.Tty", True),
    ("init", ("--init",), "ps -o pid,comm | grep -c init", "1", "HostConfig.Init", True),
    (
        "memory", ("--memory", "64m"),
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; :",
        str(64 * 2**20), "HostConfig.Memory", 64 * 2**20,
    ),
    ("memory swap", ("--memory", "64m"), "true", "", "HostConfig.MemorySwap", 128 * 2**20),
    (
        "cpus", ("--cpus", "0.5"),
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null"
        " | cut -d' ' -f1",
        "50000", "HostConfig.NanoCpus", 500_000_000,
    ),
    ("cpu-shares", ("--cpu-shares", "512"), "true", "", "HostConfig.CpuShares", 512),
    (
        "cpuset", ("--cpuset-cpus", "0"), "grep Cpus_allowed_list /proc/self/status | cut -f2",
        "0", "HostConfig.CpusetCpus", "0",
    ),
    (
        "pids", ("--pids-limit", "77"),
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; :",
        "77", "HostConfig.PidsLimit", 77,
    ),
    (
        "ulimit", ("--ulimit", "nofile=100:200"), "ulimit -Sn; ulimit -Hn", "100\n200",
        "HostConfig.Ulimits", [{"Name": "nofile", "Hard": 200, "Soft": 100}],
    ),
    (
        "shm-size", ("--shm-size", "8m"), "df -k /dev/shm | tail -1 | awk '{print $2}'", "8192",
        "HostConfig.ShmSize", 8 * 2**20,
    ),
    (
        "default shm", (), "df -k /dev/shm | tail -1 | awk '{print $2}'", "65536",
        "HostConfig.ShmSize", 64 * 2**20,
    ),
    (
        "oom-score-adj", ("--oom-score-adj", "500"), "cat /proc/self/oom_score_adj", "500",
        "HostConfig.OomScoreAdj", 500,
    ),
    (
        "cap-drop", ("--cap-drop", "ALL"), "grep CapEff /proc/self/status | cut -f2", "0" * 16,
        "HostConfig.CapDrop", ["ALL"],
    ),
    (
        "cap-add", ("--cap-drop", "ALL", "--cap-add", "NET_ADMIN"),
        "grep CapEff /proc/self/status | cut -f2", "0000000000001000",
        "HostConfig.CapAdd", ["CAP_NET_ADMIN"],
    ),
    (
        "default capabilities", (), "grep CapEff /proc/self/status | cut -f2",
        "00000000a80425fb", "HostConfig.CapAdd", None,
    ),
    (
        "no-new-privileges", ("--security-opt", "no-new-privileges"),
        "grep NoNewPrivs /proc/self/status | cut -f2", "1",
        "HostConfig.SecurityOpt", ["no-new-privileges"],
    ),
    ("seccomp", (), "grep Seccomp: /proc/self/status | cut -f2", "2", "", None),
    (
        "no seccomp", ("--security-opt", "seccomp=unconfined"),
        "grep Seccomp: /proc/self/status | cut -f2", "0",
        "HostConfig.SecurityOpt", ["seccomp=unconfined"],
    ),
    ("masked paths", (), "wc -c </proc/keys", "0", "", None),
    (
        "read-only paths", (), "echo 1 >/proc/sys/net/ipv4/ip_forward 2>/dev/null || echo no",
        "no", "", None,
    ),
    (
        "privileged", ("--privileged",),
        "grep Seccomp: /proc/self/status | cut -f2; test -e /dev/kmsg && echo dev", "0\ndev",
        "HostConfig.Privileged", True,
    ),
    (
        "sysctl", ("--sysctl", "net.ipv4.ip_default_ttl=77"),
        "cat /proc/sys/net/ipv4/ip_default_ttl", "77",
        "HostConfig.Sysctls", {"net.ipv4.ip_default_ttl": "77"},
    ),
    (
        "tmpfs", ("--tmpfs", "/scratch:size=1m,mode=700"),
        "stat -c %a /scratch; df -k /scratch | tail -1 | awk '{print $2}'", "700\n1024",
        "HostConfig.Tmpfs", {"/scratch": "size=1m,mode=700"},
    ),
    (
        "read-only", ("--read-only",), "touch /x 2>/dev/null || echo no", "no",
        "HostConfig.ReadonlyRootfs", True,
    ),
    (
        "add-host", ("--add-host", "other:10.1.2.3"),
        "grep other /etc/hosts | tr '\\t' ' '", "10.1.2.3 other",
        "HostConfig.ExtraHosts", ["other:10.1.2.3"],
    ),
    (
        "host-gateway", ("--add-host", "host.docker.internal:host-gateway"),
        "grep -c '^1.*host.docker.internal' /etc/hosts", "1",
        "HostConfig.ExtraHosts", ["host.docker.internal:host-gateway"],
    ),
    (
        "dns", ("--dns", "10.9.9.9", "--dns-search", "example.org", "--dns-option", "ndots:3"),
        "grep -cE '^(nameserver 10.9.9.9|search example.org|options ndots:3)' /etc/resolv.conf",
        "3", "HostConfig.Dns", ["10.9.9.9"],
    ),
    (
        "pid host", ("--pid", "host"), "test $$ -gt 1 && echo host", "host",
        "HostConfig.PidMode", "host",
    ),
    (
        "ipc none", ("--ipc", "none"), "df /dev/shm | tail -1 | grep -c shm || true", "0",
        "HostConfig.IpcMode", "none",
    ),
    ("uts host", ("--uts", "host"), "true", "", "HostConfig.UTSMode", "host"),
    (
        "device", ("--device", "/dev/null:/dev/mine"), "test -c /dev/mine && echo yes", "yes",
        "HostConfig.Devices",
        [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/mine", "CgroupPermissions": "rwm"}],
    ),
    (
        "entrypoint", ("--entrypoint", "/bin/echo"), "-c", "-c", "Config.Entrypoint", ["/bin/echo"],
    ),
    (
        "no network", ("--network", "none"), "ls /sys/class/net", "lo",
        "HostConfig.NetworkMode", "none",
    ),
    (
        "mac-address", ("--mac-address", "02:42:ac:11:00:99"), "cat /sys/class/net/eth0/address",
        "02:42:ac:11:00:99", "HostConfig.NetworkMode", "bridge",
    ),
    ("log driver", ("--log-driver", "local"), "true", "", "HostConfig.LogConfig.Type", "local"),
    (
        "annotation", ("--annotation", "a=b"), "true", "", "HostConfig.Annotations", {"a": "b"},
    ),
    ("exposed", ("--expose", "99/udp"), "true", "", "Config.ExposedPorts", {"99/udp": {}}),
    ("runtime", (), "true", "", "HostConfig.Runtime", "runc"),
]  # fmt: skip


def at(document: Any, path: str) -> Any:
    """Return what is at a path of names."""
    for name in path.split("."):
        document = document[name]
    return document


@pytest.mark.parametrize(
    ("options", "script", "output", "path", "value"),
    [pytest.param(*field[1:], id=field[0]) for field in _FIELDS],
)
def test_field(
    docker: Docker,
    inspect: Inspect,
    options: tuple[str, ...],
    script: str,
    output: str,
    path: str,
    value: Any,
) -> None:
    command = (script,) if "--entrypoint" in options else ("sh", "-c", script)
    result = docker("run", "--name", "field", *options, "busybox", *command).checked()
    assert result.stdout.replace("\r", "").strip() == output
    if path:
        assert at(inspect("field"), path) == value


def test_binds_and_volumes(docker: Docker, inspect: Inspect) -> None:
    options = ("-v", "fields-named:/named", "-v", "/anonymous", "-v", "/tmp:/host:ro")
    script = "touch /named/a /anonymous/b; touch /host/c 2>/dev/null || echo read-only"
    result = docker("run", "--name", "mounted", *options, "busybox", "sh", "-c", script)
    assert result.checked().out == "read-only"
    mounts = {mount["Destination"]: mount for mount in inspect("mounted")["Mounts"]}
    assert mounts["/named"]["Name"] == "fields-named"
    assert len(mounts["/anonymous"]["Name"]) == 64
    assert (mounts["/host"]["Type"], mounts["/host"]["RW"]) == ("bind", False)
    again = docker("run", "--rm", "--volumes-from", "mounted:ro", "busybox", "ls", "/named")
    assert again.checked().out == "a"


def test_mounts(docker: Docker, inspect: Inspect) -> None:
    mounts = (
        "type=volume,source=mounts-v,target=/v",
        "type=tmpfs,target=/t,tmpfs-size=1m",
        "type=bind,source=/tmp,target=/b,readonly",
    )
    options = [option for mount in mounts for option in ("--mount", mount)]
    script = "mount | grep -cE ' /(v|t|b) '"
    docker("run", "--name", "mounts", *options, "busybox", "sh", "-c", script).checked()
    assert docker("logs", "mounts").out == "3"
    found = sorted(mount["Type"] for mount in inspect("mounts")["Mounts"])
    assert found in (["bind", "tmpfs", "volume"], ["bind", "volume"])
    missing = docker(
        "run", "--rm", "--mount", "type=bind,source=/no-such,target=/x", "busybox", "true"
    )
    assert missing.code == 125
    assert 'invalid mount config for type "bind": bind source path does not exist: /no-such' in (
        missing.stderr
    )


def test_volume_takes_over_the_images_content(docker: Docker) -> None:
    script = ("cat", "/data/seed")
    assert docker("run", "--rm", "-v", "seeded:/data", "layered", *script).out == "seed"
    assert docker("run", "--rm", "-v", "seeded:/other", "busybox", "ls", "/other").out == "seed"
    nocopy = docker("run", "--rm", "-v", "unseeded:/data:nocopy", "layered", "ls", "/data")
    assert nocopy.checked().out == ""


def test_published_port_is_bound(docker: Docker, inspect: Inspect) -> None:
    docker(
        "run", "-d", "--name", "web", "-p", "127.0.0.1::80", "-p", "53/udp", "busybox", "sleep", "9"
    ).checked()
    ports = inspect("web")["NetworkSettings"]["Ports"]
    assert int(ports["80/tcp"][0]["HostPort"]) > 0
    assert ports["80/tcp"][0]["HostIp"] == "127.0.0.1"
    assert ports["53/udp"]
    assert docker("port", "web", "80").out.startswith("127.0.0.1:")


def test_namespaces_are_shared(docker: Docker) -> None:
    docker("run", "-d", "--name", "owner", "--ipc", "shareable", "busybox", "sleep", "99").checked()
    script = "ps | grep -c '[s]leep 99'; hostname"
    options = ("--pid", "container:owner", "--network", "container:owner", "--ipc")
    result = docker("run", "--rm", *options, "container:owner", "busybox", "sh", "-c", script)
    assert result.checked().lines[0] == "1"


def test_defaults_read_back_as_dockerds(inspect: Inspect, api: httpx.Client) -> None:
    identifier = created(api, {"Cmd": ["true"]})
    document = inspect(identifier)
    host_config = document["HostConfig"]
    expected = {
        "Binds": None, "NetworkMode": "bridge", "IpcMode": "private", "Runtime": "runc",
        "ShmSize": 67108864, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "ConsoleSize": [0, 0], "Privileged": False, "PidsLimit": None, "OomKillDisable": False,
    }  # fmt: skip
    host_config["RestartPolicy"]["Name"] = host_config["RestartPolicy"]["Name"] or "no"
    found = {name: host_config[name] for name in expected}
    found["NetworkMode"] = found["NetworkMode"].replace("default", "bridge")
    assert found == expected
    assert "/proc/kcore" in host_config["MaskedPaths"]
    assert document["Config"]["Hostname"] == identifier[:12]
    assert document["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    assert document["Path"] == "true"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"HostConfig": {"RestartPolicy": {"Name": "x"}}},
            "invalid restart policy: unknown policy",
        ),
        ({"HostConfig": {"NetworkMode": "container:"}}, "invalid container format"),
        ({"HostConfig": {"Mounts": [{"Type": "x", "Target": "/x"}]}}, "mount type unknown"),
        ({"HostConfig": {"Binds": ["/tmp:/x", "/tmp:/x"]}}, "Duplicate mount point: /x"),
        ({"Env": ["=x"]}, "invalid environment variable: =x"),
        ({"StopSignal": "NOPE"}, "invalid signal: NOPE"),
        ({"HostConfig": {"LogConfig": {"Type": "nope"}}}, 'plugin "nope" not found'),
        ({"HostConfig": {"Memory": "x"}}, "Memory"),
        ({"Tty": 1}, "Tty"),
    ],
)
def test_wrong_bodies_are_400(api: httpx.Client, body: dict[str, Any], message: str) -> None:
    answer = api.post("/containers/create", json={"Image": "busybox", **body})
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_image_settings_are_the_default(engine: Engine, inspect: Inspect) -> None:
    engine.docker("create", "--name", "from-image", "-e", "X=y", "layered").checked()
    config = inspect("from-image")["Config"]
    assert config["Cmd"] == ["cat", "/etc/layered"]
    assert config["WorkingDir"] == "/data"
    assert config["Env"] == ["X=y", "PATH=/usr/local/bin:/usr/bin:/bin"]
    assert json.dumps(config["Labels"]) == '{"org.example.layers": "2"}'
