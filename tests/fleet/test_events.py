"""Events say on which node they happened; a node's own view tells that node's only."""

import json
import time

from flotilla_testing.stacks import Stack


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
