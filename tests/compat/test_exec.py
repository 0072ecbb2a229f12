"""`docker exec`: streams, settings, exit codes, inspect."""

import httpx
import pytest

from flotilla_testing.clients import Start, eventually
from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker


@pytest.mark.parametrize(
    ("options", "command", "output"),
    [
        ((), "echo $HOSTNAME", None),
        (("-e", "A=b", "-e", "C=d"), "echo $A$C", "bd"),
        (("-w", "/tmp"), "pwd", "/tmp"),
        (("-u", "1000"), "id -u", "1000"),
        (("-u", "user"), "id -g", "1000"),
        (("-u", "1000:2000"), "id -g", "2000"),
        (("--privileged",), "grep -c 0 /proc/self/status >/dev/null; echo ok", "ok"),
    ],
)
def test_options_take_effect(
    docker: Docker, start: Start, options: tuple[str, ...], command: str, output: str | None
) -> None:
    identifier = start()
    result = docker("exec", *options, identifier, "sh", "-c", command).checked()
    assert result.out == (identifier[:12] if output is None else output)


@pytest.mark.parametrize(
    ("command", "code"),
    [(("true",), 0), (("sh", "-c", "exit 6"), 6), (("/etc/passwd",), 126)],
)
def test_exit_codes(docker: Docker, start: Start, command: tuple[str, ...], code: int) -> None:
    assert docker("exec", start(), *command).code == code


def test_missing_command_is_told(docker: Docker, start: Start) -> None:
    result = docker("exec", start(), "nonexistent")
    assert result.code in (126, 127)  # by version of runc
    assert (
        'exec: "nonexistent": executable file not found in $PATH' in result.stdout + result.stderr
    )


def test_streams_are_separate_and_input_ends(docker: Docker, start: Start) -> None:
    script = "cat; echo err >&2"
    result = docker("exec", "-i", start(), "sh", "-c", script, stdin="in\n")
    assert (result.code, result.stdout, result.stderr) == (0, "in\n", "err\n")


def test_exec_in_a_container_that_does_not_run(docker: Docker) -> None:
    docker("create", "--name", "idle", "busybox", "true").checked()
    result = docker("exec", "idle", "true")
    assert result.code == 1
    assert "is not running" in result.stderr


def test_exec_in_a_paused_container_is_refused(docker: Docker, start: Start) -> None:
    identifier = start()
    docker("pause", identifier).checked()
    result = docker("exec", identifier, "true")
    assert result.code == 1
    assert "is paused, unpause the container before exec" in result.stderr
    docker("unpause", identifier).checked()


def test_detached_exec_is_seen_by_inspect(engine: Engine, api: httpx.Client, start: Start) -> None:
    identifier = start()
    body = {"Cmd": ["sh", "-c", "sleep 0.2; exit 3"], "User": "root"}
    made = api.post(f"/containers/{identifier}/exec", json=body)
    assert made.status_code == 201
    exec_id = made.json()["Id"]
    before = api.get(f"/exec/{exec_id}/json").json()
    assert (before["Running"], before["ExitCode"], before["Pid"]) == (False, None, 0)
    assert api.post(f"/exec/{exec_id}/start", json={"Detach": True}).status_code == 200
    eventually(lambda: api.get(f"/exec/{exec_id}/json").json()["ExitCode"] == 3)
    again = api.post(f"/exec/{exec_id}/start", json={"Detach": True})
    assert again.status_code == 409
    assert exec_id in again.json()["message"]


def test_malformed_detach_keys_are_refused(api: httpx.Client, start: Start) -> None:
    identifier = start()
    for keys in ("bad", "ctrl-A", "a,"):
        body = {"Cmd": ["true"], "DetachKeys": keys}
        answer = api.post(f"/containers/{identifier}/exec", json=body)
        assert answer.status_code in (400, 500)  # dockerd says 500
        assert answer.json() == {"message": f"Invalid escape keys ({keys}) provided"}
    body = {"Cmd": ["true"], "DetachKeys": "DEL,ctrl-["}
    assert api.post(f"/containers/{identifier}/exec", json=body).status_code == 201


def test_unknown_exec_is_404(api: httpx.Client) -> None:
    answer = api.get("/exec/nothing/json")
    assert (answer.status_code, answer.json()) == (
        404,
        {"message": "No such exec instance: nothing"},
    )
