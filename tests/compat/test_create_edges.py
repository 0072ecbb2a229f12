"""Odd values of create: what is taken, what create refuses, and what only the start refuses."""

from typing import Any

import httpx
import pytest

from flotilla_testing.clients import Inspect, created, eventually
from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker

_NO_DRIVER = "failed to create task for container: failed to initialize logging driver: "


def _log(driver: str, **options: str) -> dict[str, Any]:
    config = {name.replace("_", "-"): value for name, value in options.items()}
    return {"HostConfig": {"LogConfig": {"Type": driver, "Config": config}}}


def _host(**fields: Any) -> dict[str, Any]:
    return {"HostConfig": fields}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (_log("json-file", max_size="bad"), f"{_NO_DRIVER}invalid size: 'bad'"),
        (_log("json-file", max_size="0"), f"{_NO_DRIVER}max-size must be a positive number"),
        (
            _log("json-file", max_size="1m", max_file="0"),
            f"{_NO_DRIVER}max-file cannot be less than 1",
        ),
        (
            _log("json-file", compress="true"),
            f"{_NO_DRIVER}compress cannot be true when max-file is less than 2 "
            "or max-size is not set",
        ),
        (
            _log("json-file", max_size="1m", max_file="3", compress="zz"),
            f'{_NO_DRIVER}strconv.ParseBool: parsing "zz": invalid syntax',
        ),
        (
            _log("json-file", tag="{{.Nope}}"),
            f'{_NO_DRIVER}template: log-tag:1:2: executing "log-tag" at <.Nope>: '
            "can't evaluate field Nope in type *logger.Info",
        ),
        (
            _log("local", max_size="-1"),
            f"{_NO_DRIVER}invalid value for max-size: -1: invalid size: '-1'",
        ),
        (
            _log("syslog", syslog_address="tcp://127.0.0.1:1"),
            f"{_NO_DRIVER}dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        (
            _log("gelf", gelf_address="tcp://127.0.0.1:1"),
            f"{_NO_DRIVER}gelf: cannot connect to GELF endpoint: 127.0.0.1:1 "
            "dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        (_host(Dns=["bad"]), 'bad nameserver address bad: ParseAddr("bad"): unable to parse IP'),
        (
            _host(GroupAdd=["crowd"]),
            "Unable to find group crowd: no matching entries in group file",
        ),
        ({"User": "-1"}, "uids and gids must be in range 0-2147483647"),
        (_host(CpuShares=-1), "shares: invalid argument"),
        (
            _log("json-file", labels_regex="("),
            f"{_NO_DRIVER}error parsing regexp: missing closing ): `(`",
        ),
        (
            _host(SecurityOpt=["seccomp=bad"]),
            "Decoding seccomp profile failed: invalid character 'b' looking for beginning of value",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value.rpartition(": ")[2][:30],
)
def test_start_refuses(
    engine: Engine, api: httpx.Client, inspect: Inspect, body: dict[str, Any], message: str
) -> None:
    identifier = created(api, {"Cmd": ["true"], **body})
    answer = api.post(f"/containers/{identifier}/start")
    assert (answer.status_code, answer.json()["message"]) == (500, message)
    state = inspect(identifier)["State"]
    assert (state["Status"], state["ExitCode"], state["Error"]) == ("created", 128, message)
    engine.docker("rm", identifier).checked()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            _log("fluentd", fluentd_address="bad://x"),
            "invalid fluentd-address (bad://x): unsupported scheme: 'bad'",
        ),
        (
            _log("fluentd", fluentd_async="zz"),
            'strconv.ParseBool: parsing "zz": invalid syntax',
        ),
        (
            _log("fluentd", fluentd_async_reconnect_interval="1"),
            "invalid value for fluentd-async-reconnect-interval: "
            'time: missing unit in duration "1"',
        ),
        (
            _log("gelf", gelf_address="udp://h"),
            "gelf: please provide gelf-address as proto://host:port",
        ),
        (
            _log("gelf", gelf_address="tcp://127.0.0.1:1", gelf_compression_level="1"),
            "compression is only supported on UDP",
        ),
        (
            _log("syslog", syslog_address="unix:///no/such"),
            "stat /no/such: no such file or directory",
        ),
        (_host(PidMode="container:"), "invalid PID mode: container:"),
        ({"Env": [None]}, "invalid environment variable: "),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"bridge": None}}},
            "invalid config for network bridge: EndpointsConfig is nil",
        ),
        (
            {
                "MacAddress": "02:42:ac:11:00:99",
                "NetworkingConfig": {
                    "EndpointsConfig": {"bridge": {"MacAddress": "02:42:ac:11:00:98"}}
                },
            },
            "the container-wide MAC address must match the endpoint-specific MAC address for the "
            "main network, or be left empty",
        ),
        (
            _host(CpuRealtimePeriod=1000, CpuRealtimeRuntime=2000),
            "cpu real-time runtime cannot be higher than cpu real-time period",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:30],
)
def test_create_refuses(api: httpx.Client, body: dict[str, Any], message: str) -> None:
    answer = api.post("/containers/create", json={"Image": "busybox", **body})
    assert answer.status_code in (400, 500)  # dockerd says 500 to some
    assert answer.json()["message"] == message


@pytest.mark.parametrize(
    ("body", "script", "output"),
    [
        ({"ExposedPorts": {"x/tcp": {}, "80/FOO": {}}}, "echo runs", "runs"),
        ({"Labels": {"a": None}}, "echo runs", "runs"),
        ({"Volumes": {"data": {}}}, "test -d /data && echo there", "there"),
        ({"Hostname": "a.b.c"}, "grep -c '\ta.b.c a$' /etc/hosts", "1"),
        ({"WorkingDir": "/tmp/../etc"}, "pwd", "/etc"),
        (_host(SecurityOpt=["seccomp={}"]), "grep Seccomp: /proc/self/status | cut -f2", "0"),
        (_host(Runtime="io.containerd.runc.v2"), "echo runs", "runs"),
        (_host(MemorySwap=-2), "echo runs", "runs"),
        (_log("json-file", max_file="2"), "echo runs", "runs"),
        (
            _host(PortBindings={"80/tcp": [{"HostIp": "bad", "HostPort": ""}]}),
            "echo runs",
            "runs",
        ),
    ],
    ids=[
        *("ports", "null label", "no slash", "dots", "folder", "no filter", "shim", "swap"),
        *("files", "address"),
    ],
)
def test_is_taken(
    docker: Docker, api: httpx.Client, body: dict[str, Any], script: str, output: str
) -> None:
    identifier = created(api, {"Cmd": ["sh", "-c", script], **body})
    result = docker("start", "-a", identifier).checked()
    assert (result.out, result.stderr) == (output, "")
    docker("rm", identifier).checked()


def test_no_health_check_of_an_unknown_kind(api: httpx.Client, inspect: Inspect) -> None:
    body = {"Cmd": ["sleep", "1000"], "Healthcheck": {"Test": ["OTHER", "x"]}}
    identifier = created(api, body)
    assert api.post(f"/containers/{identifier}/start").status_code == 204
    assert "Health" not in inspect(identifier)["State"]


def test_a_container_without_network(docker: Docker, api: httpx.Client, inspect: Inspect) -> None:
    identifier = created(api, {"Cmd": ["ls", "/sys/class/net"], "NetworkDisabled": True})
    assert docker("start", "-a", identifier).checked().out == "lo"
    assert inspect(identifier)["NetworkSettings"]["Networks"] == {}
    docker("rm", identifier).checked()


def test_the_mac_address_of_a_container_is_shown(api: httpx.Client) -> None:
    identifier = created(api, {"Cmd": ["true"], "MacAddress": "02:42:ac:11:00:99"})
    shown = api.get(f"/containers/{identifier}/json").json()
    assert shown["Config"]["MacAddress"] == "02:42:ac:11:00:99"
    assert api.delete(f"/containers/{identifier}").status_code == 204


def test_events_of_no_network(docker: Docker) -> None:
    docker("run", "--rm", "--name", "lonely", "--network", "none", "busybox", "true").checked()
    asked = (
        *("events", "--since", "5m", "--until", "0s", "--filter", "type=network"),
        *("--format", "{{.Actor.Attributes.name}} {{.Actor.Attributes.type}}"),
    )
    eventually(lambda: "none null" in docker(*asked).lines)
