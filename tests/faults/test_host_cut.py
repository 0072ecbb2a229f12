"""A host that loses its network, and gets it back: shown as it is, and reconciled afterwards."""

import os
import signal

from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually

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
