"""A runtime agent killed with SIGKILL: containers live on, and the next agent adopts them."""

import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from flotilla_cli import fleet as commands
from flotilla_cli import stack
from flotilla_testing import census
from flotilla_testing.agreement import disagreements
from flotilla_testing.census import Census
from flotilla_testing.load import Load, run_and_remove, start_exec_remove, under_load
from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually

KILLS = int(os.environ.get("FLOTILLA_FAULTS_KILLS", "4"))
KILLS_A_ROUND = 10
ON_HOST1 = ("--label", "flotilla.node=host1")
KEPT = {
    "kept": (),
    "kept-published": ("--publish", "80"),
    "kept-restarting": ("--restart", "always", "--health-cmd", "true", "--health-interval", "2s"),
}


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
    kept = {name: _kept(fleet, name, options) for name, options in KEPT.items()}
    for host in fleet.hosts:
        ran = ("run", "--rm", "--label", f"flotilla.node={host}", "busybox", "true")
        fleet.engine.docker(*ran).checked()
    before = census.taken(fleet)
    seed = os.environ.get("FLOTILLA_FAULTS_SEED", str(time.time_ns()))
    chance = random.Random(seed)
    works = (run_and_remove, start_exec_remove, run_and_remove, start_exec_remove)
    for first in range(0, KILLS, KILLS_A_ROUND):
        kills = min(KILLS_A_ROUND, KILLS - first)
        with under_load(fleet.engine, *works) as load:
            for _ in range(kills):
                eventually(partial(load.has_done, load.succeeded + 3), 120)
                time.sleep(chance.uniform(0, 0.5))
                fleet.kill("agent-host1")
                if chance.random() < 0.25:
                    _kill_while_it_adopts(fleet, chance.uniform(0.5, 3))
                # As `flotilla service start` does, without the second that a command takes itself.
                commands.start_service(stack.loaded(fleet.name), "agent-host1")
        sys.stdout.write(f"seed {seed}: {first + kills} kills, {load.succeeded} commands done\n")
        _check(fleet, kept, before, load, f"seed {seed}, after {first + kills} kills")


def _kept(fleet: Stack, name: str, options: Sequence[str]) -> str:
    """Start a container that is to run all the time, and return its process."""
    command = ("run", "-d", "--name", name, *options, *ON_HOST1, "busybox", "sleep", "100000")
    fleet.engine.docker(*command).checked()
    return state(fleet, name, "Pid")


def _kill_while_it_adopts(fleet: Stack, after_s: float) -> None:
    starting = threading.Thread(target=fleet.flotilla, args=("service", "start", "agent-host1"))
    starting.start()
    time.sleep(after_s)
    with suppress(ProcessLookupError):  # not even started
        fleet.kill("agent-host1")
    starting.join()


def _check(fleet: Stack, kept: dict[str, str], before: Census, load: Load, when: str) -> None:
    """Check that host1 has what the catalogue says, and nothing else is left of the load."""
    docker = fleet.engine.docker
    assert not load.broken, f"{when}: {load.broken}"
    try:
        for host in fleet.hosts:
            eventually(lambda host=host: not disagreements(fleet, host), 60)  # type: ignore[misc]
    except AssertionError:
        differing = {host: disagreements(fleet, host) for host in fleet.hosts}
        pytest.fail(f"{when}: {differing}\n{fleet.logs(200)}")
    for name, pid in kept.items():
        assert state(fleet, name, "Status") == "running", f"{when}: {name}"
        assert state(fleet, name, "Pid") == pid, f"{when}: {name}"
        docker("exec", name, "true").checked()
    remaining = docker("ps", "-a", "--format", "{{.Names}}").checked().lines
    stale = sorted(set(remaining) - set(kept))
    if stale:
        docker("rm", "-f", *stale).checked()
    left = census.settled(fleet, before, 60)
    assert not left, f"{when}: {left}\n{fleet.logs(200)}"
