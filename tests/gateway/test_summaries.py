"""Twin of flotilla_gateway/summaries.py."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flotilla_engine.records import ContainerRecord, NodeRecord, NodeState
from flotilla_engine.render import container_summary
from flotilla_gateway import summaries as module
from flotilla_gateway.summaries import Summaries

START = datetime(2026, 1, 1, tzinfo=UTC)


def _record(number: int, **changes: Any) -> ContainerRecord:
    return ContainerRecord.model_validate(
        {
            "id": f"{number:064x}",
            "name": f"c{number}",
            "node_id": "n1",
            "created": START,
            "image_id": "sha256:1",
            "image": "busybox",
            "config": {},
            "host_config": {},
            "state": {
                "status": "running",
                "running": True,
                "started_at": START,
                "finished_at": None,
            },
            **changes,
        }
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    moments = [START + timedelta(seconds=5)]
    monkeypatch.setattr(module, "now", lambda: moments[-1])
    return moments


def test_a_list_is_what_the_renderer_says_and_its_status_is_of_now(clock: list[datetime]) -> None:
    node = NodeRecord(id="n1", name="host1", address="192.0.2.1")
    silent = node.model_copy(update={"state": NodeState.UNREACHABLE, "last_seen": START})
    summaries = Summaries()
    records = [_record(number) for number in range(3)]
    for seconds, there in ((5, node), (70, node), (3 * 3600, silent)):
        clock.append(START + timedelta(seconds=seconds))
        for version in ((1, 41), (1, 51)):
            shown = json.loads(summaries.json([(one, there) for one in records], version))
            wanted = [container_summary(one, version, node=there, now=clock[-1]) for one in records]
            assert shown == json.loads(json.dumps(wanted))
    records[1] = _record(1, name="renamed")
    assert json.loads(summaries.json([(records[1], node)], (1, 51)))[0]["Names"] == ["/renamed"]


def test_what_is_gone_is_forgotten(clock: list[datetime]) -> None:
    node = NodeRecord(id="n1", name="host1", address="192.0.2.1")
    summaries = Summaries()
    summaries.json([(_record(number), node) for number in range(600)], (1, 51))
    assert summaries.json([], (1, 51)) == b"[]\n"
    assert len(summaries._kept) == 0
