"""Events say on which node they happened; a node's own view tells that node's only."""

import json
import time

from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually


def _events(stack: Stack, path: str, names: tuple[str, ...]) -> list[dict[str, str]]:
    filters = json.dumps({"container": list(names), "event": ["die"]})
    params = {"since": "1", "until": str(time.time() + 1), "filters": filters}
    with stack.engine.api() as api:
        answer = api.get(f"{path}/events", params=params)
    assert answer.status_code == 200, answer.text
    return [json.loads(line)["Actor"]["Attributes"] for line in answer.text.splitlines()]


def test_events_name_their_node(stack: Stack) -> None:
    names = ("event-host1", "event-host2")
    for host, name in zip(("host1", "host2"), names, strict=True):
        placed = ("-e", f"constraint:node=={host}")
        stack.engine.docker("run", "--name", name, *placed, "busybox", "true").checked()
    try:
        seen = {event["name"]: event["node.name"] for event in _events(stack, "", names)}
        assert seen == {"event-host1": "host1", "event-host2": "host2"}
        assert [event["name"] for event in _events(stack, "/on/host2", names)] == ["event-host2"]
    finally:
        stack.engine.docker("rm", *names).checked()


def test_events_name_the_networks_driver(stack: Stack) -> None:
    docker = stack.engine.docker
    docker("network", "create", "--driver", "overlay", "wide").checked()
    try:
        docker("run", "--rm", "--network", "wide", "busybox", "true").checked()
        asked = (
            *("events", "--since", "5m", "--until", "0s", "--filter", "network=wide"),
            *("--format", "{{.Action}} {{.Actor.Attributes.type}}"),
        )
        expected = ["create overlay", "connect overlay", "disconnect overlay"]
        eventually(lambda: docker(*asked).lines == expected)
    finally:
        docker("network", "rm", "wide").checked()
