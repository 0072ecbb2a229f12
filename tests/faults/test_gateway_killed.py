"""The gateway killed with SIGKILL: nothing that was answered is lost, no name is lost for ever."""

from functools import partial

from flotilla_testing import census
from flotilla_testing.agreement import disagreements
from flotilla_testing.load import run_and_remove, start_exec_remove, under_load
from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually


def test_killed_under_load_it_loses_and_leaves_nothing(fleet: Stack) -> None:
    docker = fleet.engine.docker
    for host in fleet.hosts:
        docker("run", "--rm", "--label", f"flotilla.node={host}", "busybox", "true").checked()
    kept = docker("run", "-d", "--name", "kept", "busybox", "sleep", "1000").checked().out
    before = census.taken(fleet)
    works = (run_and_remove, start_exec_remove, run_and_remove, start_exec_remove)
    with under_load(fleet.engine, *works) as load:
        for _ in range(2):
            eventually(partial(load.has_done, load.succeeded + 5), 60)
            fleet.kill("gateway")
            fleet.start("gateway")
        eventually(partial(load.has_done, load.succeeded + 5), 60)
    assert not load.broken
    for host in fleet.hosts:
        eventually(lambda one=host: not disagreements(fleet, one), 60)  # type: ignore[misc]
    assert docker("inspect", "-f", "{{.State.Status}}", "kept").checked().out == "running"
    docker("exec", "kept", "true").checked()
    stale = [one for one in docker("ps", "-aq", "--no-trunc").checked().lines if one != kept]
    if stale:
        docker("rm", "-f", *stale).checked()
    assert not census.settled(fleet, before, 60)


def test_names_taken_while_it_was_killed_are_listed_or_free(fleet: Stack) -> None:
    engine = fleet.engine
    clients = [
        engine.popen(["create", "--name", f"name-{number}", "busybox", "true"])
        for number in range(8)
    ]
    fleet.kill("gateway")
    for client in clients:
        client.communicate(timeout=60)
    fleet.start("gateway")

    def taken() -> set[str]:
        listed = engine.docker("ps", "-a", "--format", "{{.Names}}").checked().lines
        return {name for name in listed if name.startswith("name-")}

    def created(name: str) -> bool:
        return engine.docker("create", "--name", name, "busybox", "true").code == 0

    for number in range(8):
        name = f"name-{number}"
        eventually(lambda one=name: one in taken() or created(one), 60)  # type: ignore[misc]
