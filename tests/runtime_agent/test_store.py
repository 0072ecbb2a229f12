"""Twin of flotilla_runtime_agent.containers.store."""

import asyncio
import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.records import ContainerRecord, ImageRecord
from flotilla_engine.state import ContainerState
from flotilla_runtime_agent.containers.store import Store, Stored


def container(name: str) -> Stored:
    record = ContainerRecord(
        id=name * 64,
        name=name,
        node_id="node",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        image_id="sha256:1",
        image="busybox",
        config=ContainerConfig(),
        host_config=HostConfig(),
        state=ContainerState(),
    )
    return Stored(record=record, image=ImageRecord(id="sha256:1"))


def names(root: Path) -> list[str]:
    """Return the names that are on disk, as the next agent reads them."""
    return sorted(stored.record.name for stored in Store(root).load())


async def test_what_a_full_disk_did_not_take_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flotilla_runtime_agent.containers.store._RETRY_S", 0.01)
    store = Store(tmp_path)
    kept, gone = container("a"), container("b")
    for one in (kept, gone):
        store.save(one)

    def refuse(*_: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Path, "replace", refuse)
        kept.record.name, gone.record.name = "a2", "b2"
        for one in (kept, gone):
            store.save(one)
        with pytest.raises(OSError, match="No space"):
            store.save_or_fail(kept)
        await asyncio.sleep(0.05)
        assert names(tmp_path) == ["a", "b"]
        kept.record.name = "a3"
        store.remove(gone.record.id)
    async with asyncio.timeout(30):
        while names(tmp_path) != ["a3"]:  # noqa: ASYNC110  # a disk tells nobody
            await asyncio.sleep(0.01)
