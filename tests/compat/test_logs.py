"""`docker logs`: streams, tail, times, following, drivers."""

import pytest

from flotilla_testing.clients import Start, eventually
from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker

_FIVE = "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2"
_DRIVERS = ("json-file", "local")


@pytest.fixture(params=_DRIVERS)
def logged(request: pytest.FixtureRequest, docker: Docker) -> str:
    """A container that has written five lines and an error, by each driver."""
    name = f"logged-{request.param}"
    options = ("--log-driver", request.param, "-e", "E=f", "--label", "l=m")
    details = () if request.param == "local" else ("--log-opt", "env=E", "--log-opt", "labels=l")
    docker("run", "--name", name, *options, *details, "busybox", "sh", "-c", _FIVE).checked()
    return name


def test_streams_stay_apart(docker: Docker, logged: str) -> None:
    result = docker("logs", logged).checked()
    assert result.lines == [f"line {number}" for number in range(1, 6)]
    assert result.stderr == "oops\n"


def test_tail(docker: Docker, logged: str) -> None:
    result = docker("logs", "--tail", "3", logged).checked()
    assert result.stdout + result.stderr == "line 4\nline 5\noops\n"
    nothing = docker("logs", "--tail", "0", logged).checked()
    assert nothing.stdout + nothing.stderr == ""


def test_timestamps_since_and_until(docker: Docker, start: Start) -> None:
    script = "echo first; sleep 1.1; echo second; sleep 1000"
    identifier = start(command=("sh", "-c", script))
    eventually(lambda: "second" in docker("logs", identifier).stdout)
    stamped = docker("logs", "-t", identifier).checked().lines
    moment, _, text = stamped[1].partition(" ")
    assert text == "second"
    assert len(moment) == len("2026-01-01T00:00:00.000000000Z")
    assert docker("logs", "--since", moment, identifier).out == "second"
    assert docker("logs", "--until", moment[:-11], identifier).out in ("first", "")
    assert docker("logs", "--since", "1h", identifier).out == "first\nsecond"
    wrong = docker("logs", "--since", "yesterday", identifier)
    assert wrong.code == 1


def test_details_show_what_the_options_name(docker: Docker) -> None:
    options = ("--log-opt", "env=E", "--log-opt", "labels=l", "-e", "E=f", "--label", "l=m")
    docker("run", "--name", "detailed", *options, "busybox", "echo", "x").checked()
    assert docker("logs", "--details", "detailed").out == "E=f,l=m x"


def test_follow_ends_with_the_container(engine: Engine, docker: Docker, start: Start) -> None:
    start("--name", "followed", "-i", command=("sh", "-c", "echo begin; read line; echo end"))
    client = engine.popen(["logs", "-f", "followed"])
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == b"begin\n"
        docker("attach", "followed", stdin="go\n")
        assert client.stdout.read() == b"end\n"
        assert client.wait(timeout=30) == 0
    finally:
        client.kill()
        client.communicate()


def test_terminal_output_is_raw(docker: Docker) -> None:
    docker("run", "-dt", "--name", "raw", "busybox", "echo", "x").checked()
    docker("wait", "raw").checked()
    assert docker("logs", "raw").stdout.replace("\r", "") == "x\n"


@pytest.mark.parametrize("driver", _DRIVERS)
def test_long_partial_and_binary_lines_come_whole(docker: Docker, driver: str) -> None:
    script = "head -c 1000000 /dev/zero | tr '\\0' x; echo; printf 'a\\001b'; printf ' end'"
    options = ("--name", f"odd-{driver}", "--log-driver", driver)
    docker("run", *options, "busybox", "sh", "-c", script).checked()
    output = docker("logs", f"odd-{driver}").checked().stdout
    assert output == "x" * 1_000_000 + "\na\x01b end"


@pytest.mark.parametrize("driver", _DRIVERS)
def test_rotation_keeps_the_newest_lines(docker: Docker, driver: str) -> None:
    options = ("--log-driver", driver, "--log-opt", "max-size=20k", "--log-opt", "max-file=2")
    name = f"rotated-{driver}"
    script = "n=0; while [ $n -lt 9000 ]; do seq $n $((n + 999)); n=$((n + 1000)); sleep 0.5; done"
    docker("run", "--name", name, *options, "busybox", "sh", "-c", script).checked()
    lines = [int(line) for line in docker("logs", name).checked().lines]
    assert 200 < len(lines) < 9000
    assert lines == list(range(lines[0], 9000))


def test_no_driver_no_logs(docker: Docker) -> None:
    docker("run", "--name", "mute", "--log-driver", "none", "busybox", "echo", "x").checked()
    result = docker("logs", "mute")
    assert result.code == 1
    assert "configured logging driver does not support reading" in result.stderr


def test_logs_want_a_stream(engine: Engine, start: Start) -> None:
    identifier = start()
    with engine.api() as api:
        answer = api.get(f"/containers/{identifier}/logs")
    assert answer.status_code == 400
    assert answer.json() == {"message": "Bad parameters: you must choose at least one stream"}
