"""Containers on disk: a folder each, with one JSON file that is replaced as a whole."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from flotilla_engine.records import ContainerRecord, EndpointRecord, ImageRecord
from flotilla_runtime_agent.runtime.processes import ProcessRef
from flotilla_runtime_agent.spec.mounts import PlannedMount

_LOG = logging.getLogger(__name__)
_FILE = "container.json"
_RETRY_S = 2.0


class StoredProcess(BaseModel):
    """A process by number and start time."""

    pid: int = 0
    started: int = 0

    @classmethod
    def of(cls, process: ProcessRef) -> StoredProcess:
        """Convert."""
        return cls(pid=process.pid, started=process.started)

    def ref(self) -> ProcessRef:
        """Convert back."""
        return ProcessRef(self.pid, self.started)


class StoredRun(BaseModel):
    """The processes of a running container."""

    monitor: StoredProcess
    process: StoredProcess
    exit_code: int | None = None  # noted before what holds it is cleared away


class Stored(BaseModel):
    """Everything that the agent must know of a container after its own death."""

    record: ContainerRecord
    image: ImageRecord
    endpoints: list[EndpointRecord] = Field(default_factory=list)
    mounts: list[PlannedMount] = Field(default_factory=list)
    image_mounts: dict[str, ImageRecord] = Field(default_factory=dict)
    run: StoredRun | None = None
    is_removing: bool = False
    ends_for_good: bool = False  # the restart policy has no say in this run's end
    backoff_ms: int = 0


class Store:
    """The containers' folders."""

    def __init__(self, root: Path) -> None:
        """Use this folder, made if missing."""
        self._root = root
        self._owed: dict[str, Stored] = {}
        self._paying: asyncio.TimerHandle | None = None
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, container_id: str) -> Path:
        """Return the container's folder."""
        return self._root / container_id

    def ids(self) -> list[str]:
        """Return the ids of all containers, also of those that ``load`` cannot read."""
        return sorted(folder.name for folder in self._root.iterdir())

    def load(self) -> list[Stored]:
        """Read all containers; half-made folders are removed."""
        found = []
        for folder in sorted(self._root.iterdir()):
            try:
                found.append(Stored.model_validate_json((folder / _FILE).read_bytes()))
            except FileNotFoundError:
                shutil.rmtree(folder, ignore_errors=True)
            except (ValidationError, ValueError):
                _LOG.exception("container %s cannot be read and is left alone", folder.name)
        return found

    def save(self, stored: Stored) -> None:
        """Replace the container's file; survives the agent's death, not a power cut.

        On a full disk it is written as soon as there is room: what has happened has happened.
        """
        try:
            self.save_or_fail(stored)
        except OSError as error:
            if not self._owed:
                _LOG.error("containers are not written down for now: %s", error)
            self._owed[stored.record.id] = stored
            self._pay_later()

    def save_or_fail(self, stored: Stored) -> None:
        """Replace the container's file before something is done that must be known of.

        Raises:
            OSError: If the disk does not take it.
        """
        folder = self.folder(stored.record.id)
        folder.mkdir(mode=0o710, exist_ok=True)
        _replace(folder / _FILE, _written(stored), is_durable=False)
        self._owed.pop(stored.record.id, None)

    def _pay_later(self) -> None:
        if self._paying is None:
            loop = asyncio.get_running_loop()
            self._paying = loop.call_later(_RETRY_S, self._pay)

    def _pay(self) -> None:
        self._paying = None
        for stored in list(self._owed.values()):
            try:
                self.save_or_fail(stored)
            except OSError:
                self._pay_later()
                return
        _LOG.info("all containers are written down again")

    async def save_durably(self, stored: Stored) -> None:
        """Replace the container's file; survives a power cut too."""
        folder = self.folder(stored.record.id)
        folder.mkdir(mode=0o710, exist_ok=True)
        data = _written(stored)
        await asyncio.to_thread(_replace, folder / _FILE, data, is_durable=True)

    def remove(self, container_id: str) -> None:
        """Remove the container's folder; its file goes first, so that nothing half is left."""
        self._owed.pop(container_id, None)
        folder = self.folder(container_id)
        (folder / _FILE).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _written(stored: Stored) -> bytes:
    return stored.model_dump_json(exclude_defaults=True).encode()


def _replace(path: Path, data: bytes, *, is_durable: bool) -> None:
    partial = path.with_suffix(".new")
    try:
        with partial.open("wb") as file:
            file.write(data)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
