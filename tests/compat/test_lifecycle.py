"""States, verbs and events of a container."""

import json
import threading
import time
from typing import Any

import httpx
import pytest

from flotilla_testing.clients import Inspect, Start, created, eventually
from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker


def actions(api: httpx.Client, name: str, last: str, kind: str = "container") -> list[str]:
    """Return what happened to a container, in order, as soon as `last` has happened."""
    filters = json.dumps({"type": [kind], "container": [name]})
    seen: list[str] = []
    with api.stream("GET", "/events", params={"since": "1", "filters": filters}) as answer:
        for line in answer.iter_lines():
            seen.append(json.loads(line)["Action"])
            if seen[-1] == last:
                return seen
    return seen


def test_events_come_in_dockerds_order(api: httpx.Client, docker: Docker) -> None:
    script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    docker("run", "-d", "--name", "story", "busybox", "sh", "-c", script).checked()
    eventually(lambda: "ready" in docker("logs", "story").stdout)
    docker("pause", "story").checked()
    docker("unpause", "story").checked()
    docker("restart", "story").checked()
    docker("kill", "story").checked()
    docker("wait", "story").checked()
    docker("rename", "story", "story2").checked()
    docker("start", "story2").checked()
    docker("exec", "story2", "true").checked()
    eventually(lambda: docker("logs", "story2").stdout.count("ready") == 3)
    docker("stop", "story2").checked()
    docker("rm", "story2").checked()
    seen = actions(api, "story", "destroy")
    assert seen.count("stop") == 2  # dockerd sends it before or after the end of the process
    assert [action.rstrip() for action in seen if action != "stop"] == [
        "create", "start", "pause", "unpause",
        "kill", "die", "start", "restart",
        "kill", "die", "rename", "start",
        "exec_create: true", "exec_start: true", "exec_die",
        "kill", "die", "destroy",
    ]  # fmt: skip


def test_killing_a_paused_container_is_told_first(api: httpx.Client, docker: Docker) -> None:
    script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    docker("run", "-d", "--name", "frozen", "busybox", "sh", "-c", script).checked()
    eventually(lambda: "ready" in docker("logs", "frozen").stdout)
    docker("pause", "frozen").checked()
    docker("stop", "frozen").checked()
    docker("start", "frozen").checked()
    docker("pause", "frozen").checked()
    docker("rm", "-f", "frozen").checked()
    seen = actions(api, "frozen", "destroy")
    assert [action for action in seen if action != "stop"] == [
        *("create", "start", "pause", "kill", "unpause", "die"),
        *("start", "pause", "kill", "die", "destroy"),
    ]


def test_events_carry_dockerds_attributes(api: httpx.Client, docker: Docker) -> None:
    docker("run", "-d", "--name", "attrs", "--label", "k=v", "busybox", "sh", "-c", "exit 4")
    docker("wait", "attrs")
    filters = json.dumps({"container": ["attrs"], "event": ["die"]})
    with api.stream("GET", "/events", params={"since": "1", "filters": filters}) as answer:
        event = json.loads(next(answer.iter_lines()))
    assert event["Type"] == "container"
    assert event["status"] == "die"
    assert event["from"] == "busybox"
    assert event["id"] == event["Actor"]["ID"]
    assert event["time"] == event["timeNano"] // 10**9
    attributes = event["Actor"]["Attributes"]
    assert {key: attributes[key] for key in ("name", "image", "k", "exitCode")} == {
        "name": "attrs",
        "image": "busybox",
        "k": "v",
        "exitCode": "4",
    }
    assert attributes["execDuration"].isdigit()


def test_events_end_at_until(docker: Docker, start: Start) -> None:
    start("--name", "short-story")
    until = str(int(time.time()) + 2)
    listed = docker(
        "events", "--since", "1h", "--until", until, "--filter", "container=short-story"
    )
    assert "container start" in listed.checked().stdout


def test_verbs_that_change_nothing_are_304(api: httpx.Client, start: Start) -> None:
    identifier = start()
    assert api.post(f"/containers/{identifier}/start").status_code == 304
    assert api.post(f"/containers/{identifier}/stop", params={"t": 0}).status_code == 204
    assert api.post(f"/containers/{identifier}/stop").status_code == 304


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("kill", "is not running"),
        ("pause", "is not running"),
        ("unpause", "is not paused"),
    ],
)
def test_verbs_that_need_a_running_container(api: httpx.Client, verb: str, text: str) -> None:
    identifier = created(api, {"Cmd": ["true"]})
    answer = api.post(f"/containers/{identifier}/{verb}")
    assert answer.status_code in (409, 500)  # dockerd says 500 to unpause
    assert text in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "json"), ("POST", "start"), ("POST", "stop"), ("POST", "kill"), ("GET", "top"),
        ("POST", "wait"), ("GET", "logs?stdout=1"), ("POST", "rename?name=xx"), ("GET", "changes"),
        ("GET", "export"), ("GET", "stats?stream=0"), ("POST", "pause"), ("POST", "unpause"),
        ("POST", "restart"), ("POST", "resize?h=1&w=1"), ("GET", "archive?path=/x"), ("DELETE", ""),
        ("POST", "attach?stream=1&stdout=1"),
    ],
)  # fmt: skip
def test_unknown_container_is_404(api: httpx.Client, method: str, path: str) -> None:
    answer = api.request(method, f"/containers/no-such-one/{path}".rstrip("/"))
    assert answer.status_code == 404
    assert "No such container: no-such-one" in answer.text
    if not path.startswith("attach"):
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["message"]


def test_running_container_is_removed_by_force_only(docker: Docker, start: Start) -> None:
    identifier = start()
    refused = docker("rm", identifier)
    assert refused.code == 1
    assert "container is running: stop the container before removing or force remove" in (
        refused.stderr
    )
    docker("rm", "-f", identifier).checked()


def test_stop_sends_its_signal_and_kills_after_its_time(docker: Docker, inspect: Inspect) -> None:
    script = "trap 'exit 3' USR1; echo ready; while :; do sleep 0.1; done"
    run = ("run", "-d", "--name")
    docker(*run, "polite", "--stop-signal", "USR1", "busybox", "sh", "-c", script).checked()
    eventually(lambda: "ready" in docker("logs", "polite").stdout)
    docker("stop", "polite").checked()
    assert inspect("polite")["State"]["ExitCode"] == 3
    docker(*run, "stubborn", "--stop-timeout", "1", "busybox", "sleep", "1000").checked()
    docker("stop", "stubborn").checked()
    assert inspect("stubborn")["State"]["ExitCode"] == 137


def test_kill_sends_any_signal(docker: Docker, inspect: Inspect) -> None:
    script = "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done"
    docker("run", "-d", "--name", "sig", "busybox", "sh", "-c", script).checked()
    eventually(lambda: "ready" in docker("logs", "sig").stdout)
    docker("kill", "-s", "SIGUSR1", "sig").checked()
    eventually(lambda: "usr1" in docker("logs", "sig").stdout)
    assert inspect("sig")["State"]["Running"]
    wrong = docker("kill", "-s", "NOPE", "sig")
    assert "nvalid signal: NOPE" in wrong.stderr


@pytest.mark.parametrize("condition", ["not-running", "next-exit", "removed"])
def test_wait_answers_when_its_condition_is_met(
    engine: Engine, docker: Docker, start: Start, condition: str
) -> None:
    script = "trap 'exit 5' TERM; while :; do sleep 0.1; done"
    identifier = start("--rm", command=("sh", "-c", script))
    answers: list[Any] = []

    def wait() -> None:
        with engine.api() as api:
            parameters = {"condition": condition}
            with api.stream("POST", f"/containers/{identifier}/wait", params=parameters) as answer:
                waiting.set()
                answers.append(json.loads(answer.read()))

    waiting = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(30), "headers must come before the container exits"
    docker("stop", identifier).checked()
    thread.join(30)
    assert answers == [{"StatusCode": 5}]


def test_wait_for_an_exited_container_answers_at_once(docker: Docker) -> None:
    docker("run", "--name", "past", "busybox", "sh", "-c", "exit 8")
    assert docker("wait", "past").out == "8"


def test_wait_refuses_other_conditions(api: httpx.Client, start: Start) -> None:
    answer = api.post(f"/containers/{start()}/wait", params={"condition": "nope"})
    assert answer.status_code == 400
    assert 'invalid condition: "nope"' in answer.json()["message"]


def test_pause_stops_the_clock(docker: Docker, start: Start, inspect: Inspect) -> None:
    identifier = start()
    docker("pause", identifier).checked()
    assert inspect(identifier)["State"]["Status"] == "paused"
    assert "(Paused)" in docker("ps", "--format", "{{.Status}}").stdout
    again = docker("pause", identifier)
    assert "is already paused" in again.stderr
    docker("unpause", identifier).checked()
    assert inspect(identifier)["State"]["Status"] == "running"


def test_restart_keeps_the_file_system(docker: Docker, start: Start, inspect: Inspect) -> None:
    identifier = start()
    docker("exec", identifier, "touch", "/kept").checked()
    before = inspect(identifier)["State"]["StartedAt"]
    docker("restart", "-t", "0", identifier).checked()
    assert inspect(identifier)["State"]["StartedAt"] > before
    docker("exec", identifier, "ls", "/kept").checked()


def test_rename_moves_the_name(docker: Docker, start: Start, inspect: Inspect) -> None:
    identifier = start("--name", "old-name")
    start("--name", "taken")
    docker("rename", "old-name", "new-name").checked()
    assert inspect("new-name")["Id"] == identifier
    taken = docker("rename", "new-name", "taken")
    assert 'Conflict. The container name "/taken" is already in use' in taken.stderr
    assert "new-name" in docker("ps", "--format", "{{.Names}}").stdout


def test_top_lists_processes(docker: Docker, start: Start) -> None:
    identifier = start()
    rows = docker("top", identifier).checked().lines
    assert rows[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert rows[1].endswith("sleep 1000")
    rows = docker("top", identifier, "-o", "pid,comm").checked().lines
    assert rows[0].split() == ["PID", "COMMAND"]
    stopped = docker("stop", "-t", "0", identifier).checked()
    assert "is not running" in docker("top", stopped.out).stderr


def test_update_changes_limits_and_policy(docker: Docker, start: Start, inspect: Inspect) -> None:
    identifier = start("--memory", "64m")
    docker("update", "--memory", "96m", "--memory-swap", "192m", identifier).checked()
    docker("update", "--restart", "on-failure:3", "--cpu-shares", "512", identifier).checked()
    host_config = inspect(identifier)["HostConfig"]
    assert host_config["Memory"] == 96 * 2**20
    assert host_config["CpuShares"] == 512
    assert host_config["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    wrong = docker("update", "--memory", "5m", identifier)
    assert "Minimum memory limit allowed is 6MB" in wrong.stderr
    docker("update", "--memory", "48m", identifier).checked()
    host_config = inspect(identifier)["HostConfig"]
    assert (host_config["Memory"], host_config["MemorySwap"]) == (48 * 2**20, 192 * 2**20)


def test_update_of_memory_alone_needs_a_limit_of_swap(docker: Docker) -> None:
    identifier = docker("create", "busybox", "true").checked().out
    wrong = docker("update", "--memory", "64m", identifier)
    assert wrong.stderr.strip().endswith(
        f"Cannot update container {identifier}: Memory limit should be smaller than already set "
        "memoryswap limit, update the memoryswap at the same time"
    )
    docker("rm", identifier).checked()


def test_restart_with_a_wrong_signal(docker: Docker, start: Start) -> None:
    identifier = start()
    wrong = docker("restart", "-s", "BAD", identifier)
    assert f"Cannot restart container {identifier}: invalid signal: BAD" in wrong.stderr


def test_prune_removes_what_does_not_run(docker: Docker, start: Start) -> None:
    running = start("--label", "pruned=yes")
    stopped = docker("create", "--label", "pruned=yes", "busybox", "true").checked().out
    other = docker("create", "--label", "pruned=no", "busybox", "true").checked().out
    pruned = docker("container", "prune", "-f", "--filter", "label=pruned=yes").checked()
    assert stopped in pruned.stdout
    listed = docker("ps", "-aq", "--no-trunc").stdout
    assert running in listed
    assert other in listed
    assert stopped not in listed
