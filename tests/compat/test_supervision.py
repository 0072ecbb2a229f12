"""Restart policies, health checks, out of memory."""

import pytest

from flotilla_testing.clients import Inspect, Start, eventually
from flotilla_testing.fixtures import Docker


def test_on_failure_gives_up_after_its_retries(docker: Docker, inspect: Inspect) -> None:
    docker(
        "run",
        "-d",
        "--name",
        "failing",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "exit 3",
    ).checked()
    eventually(
        lambda: (
            inspect("failing")["RestartCount"] == 2
            and inspect("failing")["State"]["Status"] == "exited"
        )
    )
    assert inspect("failing")["State"]["ExitCode"] == 3


def test_on_failure_leaves_successes_alone(docker: Docker, inspect: Inspect) -> None:
    docker("run", "-d", "--name", "fine", "--restart", "on-failure", "busybox", "true").checked()
    docker("wait", "fine").checked()
    eventually(lambda: inspect("fine")["State"]["Status"] == "exited")
    assert inspect("fine")["RestartCount"] == 0


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_always_restarts_until_stopped(docker: Docker, inspect: Inspect, policy: str) -> None:
    docker("run", "-d", "--name", "again", "--restart", policy, "busybox", "true").checked()
    eventually(lambda: inspect("again")["RestartCount"] >= 2)
    docker("stop", "again").checked()
    eventually(lambda: inspect("again")["State"]["Status"] == "exited")


def test_killed_process_is_restarted(docker: Docker, start: Start, inspect: Inspect) -> None:
    identifier = start("--restart", "always", "-v", "/state", command=("sh", "-c", "sleep 0.3"))
    eventually(lambda: inspect(identifier)["RestartCount"] >= 1)
    docker("rm", "-f", identifier).checked()


def test_health_goes_from_starting_to_healthy_to_unhealthy(
    docker: Docker, start: Start, inspect: Inspect
) -> None:
    identifier = start(
        "--health-cmd", "test -e /ok && echo fine", "--health-interval", "300ms",
        "--health-retries", "2", "--health-timeout", "5s",
    )  # fmt: skip
    assert inspect(identifier)["State"]["Health"]["Status"] == "starting"
    docker("exec", identifier, "touch", "/ok").checked()
    eventually(lambda: inspect(identifier)["State"]["Health"]["Status"] == "healthy")
    health = inspect(identifier)["State"]["Health"]
    assert health["FailingStreak"] == 0
    assert health["Log"][-1]["ExitCode"] == 0
    assert health["Log"][-1]["Output"].strip() == "fine"
    assert "(healthy)" in docker("ps", "--format", "{{.Status}}", "--filter", "health=healthy").out
    docker("exec", identifier, "rm", "/ok").checked()
    eventually(lambda: inspect(identifier)["State"]["Health"]["Status"] == "unhealthy")
    assert inspect(identifier)["State"]["Health"]["FailingStreak"] >= 2


def test_slow_probe_is_a_failure(docker: Docker, start: Start, inspect: Inspect) -> None:
    identifier = start(
        "--health-cmd", "sleep 30", "--health-interval", "100ms", "--health-timeout", "300ms",
        "--health-retries", "1",
    )  # fmt: skip
    eventually(lambda: inspect(identifier)["State"]["Health"]["Status"] == "unhealthy")
    log = inspect(identifier)["State"]["Health"]["Log"][-1]
    assert log["ExitCode"] == -1
    assert log["Output"].startswith("Health check exceeded timeout (300ms)")


def test_no_healthcheck_has_no_health(start: Start, inspect: Inspect) -> None:
    assert "Health" not in inspect(start("--no-healthcheck"))["State"]


def test_out_of_memory_is_seen(docker: Docker, inspect: Inspect) -> None:
    script = "head -c 200m /dev/zero | tail"
    options = ("--name", "hungry", "--memory", "8m", "--memory-swap", "8m")
    docker("run", *options, "busybox", "sh", "-c", f"exec {script.split(' | ')[1]} </dev/zero")
    eventually(lambda: inspect("hungry")["State"]["Status"] == "exited")
    state = inspect("hungry")["State"]
    assert state["ExitCode"] == 137
    assert state["OOMKilled"]
