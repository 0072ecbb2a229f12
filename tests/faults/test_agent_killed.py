"""A runtime agent killed with SIGKILL: containers live on, and the next agent adopts them."""

import os
import random
import time
from functools import partial
from pathlib import Path

import pytest

from flotilla_testing import census
from flotilla_testing.load import run_and_remove, start_exec_remove, under_load
from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually

KILLS = int(os.environ.get("FLOTILLA_FAULTS_KILLS", "4"))
ON_HOST1 = ("--label", "flotilla.node=host1")


def lives(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


def state(fleet: Stack, name: str, what: str) -> str:
    return fleet.engine.docker("inspect", "-f", f"{{{{.State.{what}}}}}", name).checked().out


def test_containers_live_on_and_are_adopted(fleet: Stack) -> None:
    docker = fleet.engine.docker
    count = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done"
    docker("run", "-d", "--name", "long", *ON_HOST1, "busybox", "sh", "-c", count).checked()
    docker("run", "-d", "--name", "short", *ON_HOST1, "busybox", "sh", "-c", "sleep 3; exit 7")
    long_pid, short_pid = state(fleet, "long", "Pid"), state(fleet, "short", "Pid")
    fleet.kill("agent-host1")
    refused = docker("exec", "long", "true", timeout_s=60)
    assert refused.code == 1
    assert "host1" in refused.stderr
    eventually(lambda: not lives(short_pid), 60)
    assert lives(long_pid)
    fleet.start("agent-host1")
    assert docker("wait", "short").checked().out == "7"
    assert state(fleet, "short", "Status") == "exited"
    assert state(fleet, "long", "Pid") == long_pid
    docker("exec", "long", "true").checked()
    docker("stop", "-t", "0", "long").checked()
    logged = [int(line) for line in docker("logs", "long").checked().lines]
    assert logged == list(range(1, len(logged) + 1))


def test_restart_policy_goes_on_with_the_next_agent(fleet: Stack) -> None:
    docker = fleet.engine.docker
    docker(
        "run", "-d", "--name", "again", "--restart", "always", *ON_HOST1, "busybox", "sleep", "2"
    )
    pid = state(fleet, "again", "Pid")
    fleet.kill("agent-host1")
    eventually(lambda: not lives(pid), 60)
    fleet.start("agent-host1")
    eventually(lambda: state(fleet, "again", "Pid") not in (pid, "0"), 60)


@pytest.mark.timeout(300 + 60 * KILLS)
def test_killed_at_any_moment_it_leaves_nothing(fleet: Stack) -> None:
    docker = fleet.engine.docker
    docker("run", "-d", "--name", "kept", *ON_HOST1, "busybox", "sleep", "1000").checked()
    for host in fleet.hosts:
        docker("run", "--rm", "--label", f"flotilla.node={host}", "busybox", "true").checked()
    before = census.taken(fleet)
    seed = os.environ.get("FLOTILLA_FAULTS_SEED", str(time.time_ns()))
    chance = random.Random(seed)
    works = (run_and_remove, start_exec_remove, run_and_remove, start_exec_remove)
    with under_load(fleet.engine, *works) as load:
        for _ in range(KILLS):
            enough = load.succeeded + 5
            eventually(partial(load.has_done, enough), 60)
            time.sleep(chance.uniform(0, 0.5))
            fleet.kill("agent-host1")
            fleet.start("agent-host1")
    assert not load.broken, f"seed {seed}: {load.broken}"
    remaining = docker("ps", "-aq", "--no-trunc").checked().lines
    kept = docker("inspect", "-f", "{{.Id}}", "kept").checked().out
    assert kept in remaining
    stale = [one for one in remaining if one != kept]
    if stale:
        docker("rm", "-f", *stale).checked()
    left = census.settled(fleet, before, 60)
    assert not left, f"seed {seed}: {left}"
    assert state(fleet, "kept", "Status") == "running"
