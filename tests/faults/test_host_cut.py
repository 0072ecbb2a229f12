"""A host that loses its network, and gets it back: shown as it is, and reconciled afterwards."""

import os
import signal
import time
from functools import partial

import pytest

from flotilla_testing import census
from flotilla_testing.load import run_and_remove, start_exec_remove, under_load
from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually

CUTS = int(os.environ.get("FLOTILLA_FAULTS_CUTS", "1"))
CUT_S = float(os.environ.get("FLOTILLA_FAULTS_CUT_S", "20"))
ON_HOST2 = ("--label", "flotilla.node=host2")


def status(fleet: Stack, name: str) -> str:
    format_ = ("--format", "{{.Status}}")
    return fleet.engine.docker("ps", "-a", "--filter", f"name={name}", *format_).checked().out


def test_silent_host_is_shown_and_reconciled(fleet: Stack) -> None:
    engine = fleet.engine
    for name in ("living", "dying"):
        engine.docker("run", "-d", "--name", name, *ON_HOST2, "busybox", "sleep", "1000").checked()
    pid = engine.docker("inspect", "-f", "{{.State.Pid}}", "dying").checked().out
    session = engine.popen(["exec", "living", "sleep", "1000"])
    fleet.cut("host2")
    refused = engine.docker("exec", "living", "true", timeout_s=60)
    assert refused.code != 0
    assert "host2" in refused.stderr
    _, errors = session.communicate(timeout=90)
    assert session.returncode != 0, errors
    eventually(lambda: "nreachable" in status(fleet, "living"), 60)
    engine.docker("run", "--rm", "busybox", "true").checked()
    assert "host2" in engine.docker("info").stderr
    os.kill(int(pid), signal.SIGKILL)
    fleet.heal("host2")
    eventually(lambda: status(fleet, "dying").startswith("Exited (137)"), 60)
    eventually(lambda: status(fleet, "living").startswith("Up"), 60)
    engine.docker("exec", "living", "true").checked()


def test_container_removed_while_its_host_was_silent_is_gone_afterwards(fleet: Stack) -> None:
    engine = fleet.engine
    engine.docker("run", "-d", "--name", "gone", *ON_HOST2, "busybox", "sleep", "1000").checked()
    fleet.cut("host2")
    eventually(lambda: "nreachable" in status(fleet, "gone"), 60)
    removed = engine.docker("rm", "-f", "gone", timeout_s=60)
    fleet.heal("host2")
    if removed.code == 0:
        eventually(lambda: status(fleet, "gone") == "", 60)
    else:
        eventually(lambda: status(fleet, "gone").startswith("Up"), 60)


@pytest.mark.timeout(300 + (60 + 2 * CUT_S) * CUTS)
def test_cut_under_load_it_loses_and_leaves_nothing(fleet: Stack) -> None:
    engine = fleet.engine
    for host in fleet.hosts:
        engine.docker("run", "--rm", "--label", f"flotilla.node={host}", "busybox", "true")
    kept = engine.docker("run", "-d", "--name", "kept", *ON_HOST2, "busybox", "sleep", "10000")
    before = census.taken(fleet)
    works = (run_and_remove, start_exec_remove, run_and_remove, start_exec_remove)
    with under_load(engine, *works) as load:
        for _ in range(CUTS):
            eventually(partial(load.has_done, load.succeeded + 5), 90)
            fleet.cut("host2")
            time.sleep(CUT_S)
            fleet.heal("host2")
        eventually(partial(load.has_done, load.succeeded + 5), 90)
    assert not load.broken
    eventually(lambda: status(fleet, "kept").startswith("Up"), 60)
    engine.docker("exec", "kept", "true").checked()
    listed = engine.docker("ps", "-aq", "--no-trunc").checked().lines
    stale = [one for one in listed if one != kept.out]
    if stale:
        engine.docker("rm", "-f", *stale).checked()
    assert not census.settled(fleet, before, 60)
