"""Execs of one container: created, started once, found again after the agent's death."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import ValidationError

from flotilla_core.errors import ConflictError, NotFoundError
from flotilla_engine.exec import ExecConfig
from flotilla_engine.records import ExecRecord
from flotilla_runtime_agent.containers.exec import FILE, Exec, StoredExec, remove_folder, shown
from flotilla_runtime_agent.containers.states import is_restarting, not_running

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container

_LOG = logging.getLogger(__name__)
_KEPT_ENDED_S = 300
_READY_AT_ONCE = 4


class Execs:
    """All execs of one container; ended ones can be inspected for five minutes."""

    def __init__(self, container: Container) -> None:
        """No execs yet."""
        self._container = container
        self._execs: dict[str, Exec] = {}

    def open_ids(self) -> list[str]:
        """Return the ids of those that have not ended."""
        return [key for key, item in self._execs.items() if item.record.exit_code is None]

    def get(self, exec_id: str) -> Exec:
        """Return an exec. Raises: NotFoundError."""
        found = self._execs.get(exec_id)
        if found is None:
            raise NotFoundError(f"No such exec instance: {exec_id}")
        return found

    def create(self, exec_id: str, config: ExecConfig) -> Exec:
        """Make an exec.

        Raises:
            FlotillaError: With dockerd's text.
        """
        self._container.check_running()
        known = self._execs.get(exec_id)
        if known is not None:
            return known
        record = ExecRecord(id=exec_id, container_id=self._container.id, config=config)
        created = Exec(self._container, StoredExec(record=record))
        self._execs[exec_id] = created
        created.event(f"exec_create: {shown(config)}")
        return created

    def get_ready(self, created: Exec) -> None:
        """Prepare the start of one that was created just now."""
        if sum(item.is_ready for item in self._execs.values()) < _READY_AT_ONCE:
            created.get_ready()

    def has_ended(self, ended: Exec) -> None:
        """Forget it in a while."""
        loop = asyncio.get_running_loop()
        loop.call_later(_KEPT_ENDED_S, self._execs.pop, ended.record.id, None)

    async def container_ended(self) -> None:
        """End all that still run; their monitors see their processes die with the container."""
        running = [item for item in self._execs.values() if item.record.running]
        if running:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.gather(*(item.ended.wait() for item in running))
        for item in list(self._execs.values()):
            item.container_ended()

    def forget(self) -> None:
        """The container is gone."""
        self._execs.clear()

    def adopt(self) -> None:
        """Find execs that a former agent left."""
        folder = self._container.host.paths.bundle(self._container.id) / "execs"
        for path in folder.glob("*"):
            try:
                stored = StoredExec.model_validate_json((path / FILE).read_bytes())
            except FileNotFoundError:
                remove_folder(path)  # it was never started
                continue
            except (ValidationError, ValueError, OSError):
                _LOG.exception("exec %s cannot be read", path.name)
                continue
            adopted = Exec(self._container, stored)
            self._execs[stored.record.id] = adopted
            adopted.adopt()


def refuse_unless_running(container: Container) -> None:
    """Raise what dockerd says of an exec in a container that is not up."""
    state = container.record.state
    if not state.running:
        raise not_running(container.id)
    if state.paused:
        raise ConflictError(
            f"Container {container.record.name} is paused, unpause the container before exec"
        )
    if state.restarting:
        raise is_restarting(container.id)
