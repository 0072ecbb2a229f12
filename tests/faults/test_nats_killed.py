"""nats-server killed with SIGKILL: requests wait for it, streams go on, events come once each."""

import json

from flotilla_testing.stacks import Stack


def test_requests_wait_and_streams_go_on(fleet: Stack) -> None:
    engine = fleet.engine
    kept = engine.docker("run", "-d", "busybox", "sleep", "1000").checked().out
    session = engine.popen(["exec", "-i", kept, "cat"])
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write(b"before\n")
    session.stdin.flush()
    assert session.stdout.readline() == b"before\n"
    run = engine.popen(["run", "--rm", "busybox", "sh", "-c", "echo begun; sleep 3; exit 9"])
    assert run.stdout is not None
    assert run.stdout.readline() == b"begun\n"
    fleet.kill("nats")
    session.stdin.write(b"meanwhile\n")
    session.stdin.flush()
    assert session.stdout.readline() == b"meanwhile\n"
    waiting = engine.popen(["run", "--rm", "busybox", "echo", "done"])
    fleet.start("nats")
    output, errors = waiting.communicate(timeout=60)
    assert (waiting.returncode, output) == (0, b"done\n"), errors
    run.communicate(timeout=60)
    assert run.returncode == 9
    output, _ = session.communicate(b"after\n", timeout=60)
    assert (session.returncode, output) == (0, b"after\n")


def test_events_said_while_it_was_away_come_once_and_in_order(fleet: Stack) -> None:
    engine = fleet.engine
    since = engine.docker("info", "-f", "{{.SystemTime}}").checked().out
    name = "briefly"
    engine.docker("run", "-d", "--name", name, "busybox", "sleep", "2").checked()
    fleet.kill("nats")
    container = engine.docker("ps", "-aq", "--no-trunc", "--filter", f"name={name}").checked().out
    fleet.start("nats")
    engine.docker("wait", name).checked()
    engine.docker("rm", name).checked()
    wanted = ["create", "start", "die", "destroy"]
    watching = engine.popen(
        ["events", "--since", since, "--format", "json", "--filter", f"container={container}"]
    )
    assert watching.stdout is not None
    seen: list[str] = []
    for line in watching.stdout:
        event = json.loads(line)
        if event["Type"] == "container":
            seen.append(event["Action"])
        if event["Action"] == "destroy":
            break
    watching.kill()
    watching.communicate()
    assert [action for action in seen if action in wanted] == wanted
