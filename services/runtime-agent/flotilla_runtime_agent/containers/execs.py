"""Execs of one container: created, started once, found again after the agent's death."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from flotilla_core.errors import ConflictError, FlotillaError, NotFoundError
from flotilla_engine.exec import ExecConfig
from flotilla_engine.records import ExecRecord
from flotilla_runtime_agent.containers import failures
from flotilla_runtime_agent.containers.launch import PROCESS_FILE
from flotilla_runtime_agent.containers.states import is_restarting, not_running
from flotilla_runtime_agent.containers.store import StoredProcess, StoredRun
from flotilla_runtime_agent.runtime import conmon
from flotilla_runtime_agent.runtime.attach import Broadcast
from flotilla_runtime_agent.runtime.conmon import Monitored, Monitoring, RuntimeFailedError
from flotilla_runtime_agent.runtime.processes import gone
from flotilla_runtime_agent.spec.build import exec_process

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container

_LOG = logging.getLogger(__name__)
_KEPT_ENDED_S = 300
_CANNOT_INVOKE = 126
_FILE = "exec.json"


class StoredExec(BaseModel):
    """An exec on disk."""

    record: ExecRecord
    run: StoredRun | None = None


class Exec:
    """One exec."""

    def __init__(self, container: Container, stored: StoredExec) -> None:
        """Take what is stored; nothing is started."""
        self._container = container
        self._stored = stored
        self.folder = container.host.paths.bundle(container.id) / "execs" / stored.record.id
        self.broadcast = Broadcast(lambda: conmon.connect_attach(self.folder), hold=True)
        self.ended = asyncio.Event()
        self.was_started = stored.run is not None

    @property
    def record(self) -> ExecRecord:
        """The exec as it is now."""
        return self._stored.record

    def save(self) -> None:
        """Write it down."""
        partial = self.folder / "exec.new"
        partial.write_text(self._stored.model_dump_json())
        partial.replace(self.folder / _FILE)

    def claim(self) -> None:
        """Check that it can be started, and let nobody else do so.

        Raises:
            ConflictError: With dockerd's text.
        """
        if self.record.exit_code is not None:
            raise ConflictError(f"Error: Exec command {self.record.id} has already run")
        if self.was_started:
            raise ConflictError(f"Error: Exec command {self.record.id} is already running")
        self._container.check_running()
        self.was_started = True

    def event(self, action: str, **attributes: str) -> None:
        """Tell that something happened to it."""
        self._container.event(action, execID=self.record.id, **attributes)

    async def start(self, *, tty: bool, size: list[int] | None = None) -> None:
        """Start its process; ``claim`` came before.

        Raises:
            FlotillaError: With dockerd's text; the exec has ended then.
        """
        self.event(f"exec_start: {_shown(self.record.config)}")
        try:
            monitored = await self._run(tty=tty, size=size)
        except (RuntimeFailedError, FlotillaError, OSError, TimeoutError) as error:
            self._finish(_CANNOT_INVOKE)
            if isinstance(error, RuntimeFailedError):
                raise failures.of_exec(str(error)) from error
            raise
        record = self.record
        record.running, record.pid = True, monitored.process.pid
        self._stored.run = StoredRun(
            monitor=StoredProcess.of(monitored.monitor),
            process=StoredProcess.of(monitored.process),
        )
        self.save()
        self.watch(monitored)

    async def _run(self, *, tty: bool, size: list[int] | None) -> Monitored:
        container = self._container
        config = self.record.config
        bundle = container.host.paths.bundle(container.id)
        base = json.loads((bundle / PROCESS_FILE).read_text())
        root = Path(base["root"])
        user = container.record.config.user
        process = exec_process(base["process"], config, tty=tty, root=root, user=user)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "process.json").write_text(json.dumps(process))
        starting = await conmon.prepare_exec(
            Monitoring(
                conmon=container.host.paths.conmon,
                runtime=container.host.runtime(container.record.host_config.runtime),
                container_id=container.id,
                bundle=self.folder,
                terminal=tty,
                stdin=config.attach_stdin,
                leave_stdin_open=config.attach_stdin and tty,
                exec_id=self.record.id,
            )
        )
        try:
            self.broadcast.begin()
            if tty and size and all(size):
                conmon.resize(self.folder, size[0], size[1])
        except BaseException:
            await starting.abandon()
            raise
        return await starting.go()

    def watch(self, monitored: Monitored) -> None:
        """Note the end when it comes."""
        name = f"exec {self.record.id[:12]}"
        self._container.host.background.start(self._until_end(monitored), name)

    async def _until_end(self, monitored: Monitored) -> None:
        if monitored.child is not None:
            await monitored.child.wait()
        else:
            await gone(monitored.monitor)
        if self.ended.is_set():
            return
        code = conmon.exit_code(self.folder, self._container.id)
        if code is None:
            monitored.process.kill()
        self._finish(137 if code is None else code)

    def _finish(self, code: int) -> None:
        record = self.record
        was_running = record.running
        record.running, record.exit_code, record.can_remove = False, code, True
        self.ended.set()
        self.broadcast.end()
        self._container.execs.has_ended(self)
        if was_running:
            self.event("exec_die", exitCode=str(code))
        # Off the way of the client, who asks for the exit code next.
        asyncio.get_running_loop().run_in_executor(None, _remove, self.folder)

    def kill(self) -> None:
        """Kill its process."""
        run = self._stored.run
        if run is not None:
            run.process.ref().kill()

    def container_ended(self) -> None:
        """The container has ended, and this with it."""
        if not self.ended.is_set():
            code = conmon.exit_code(self.folder, self._container.id)
            run = self._stored.run
            if run is not None:
                conmon.kill_monitor(run.monitor.ref())
            self._finish(137 if code is None else code)

    def adopt(self) -> None:
        """Take over what a former agent started."""
        run = self._stored.run
        if run is not None:
            self.broadcast.begin()
            self.watch(Monitored(run.monitor.ref(), run.process.ref()))


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
        created.event(f"exec_create: {_shown(config)}")
        return created

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
        for path in folder.glob(f"*/{_FILE}"):
            try:
                stored = StoredExec.model_validate_json(path.read_bytes())
            except (ValidationError, ValueError, OSError):
                _LOG.exception("exec %s cannot be read", path.parent.name)
                continue
            adopted = Exec(self._container, stored)
            self._execs[stored.record.id] = adopted
            adopted.adopt()


def _remove(folder: Path) -> None:
    with suppress(OSError):  # the container's whole folder may be going at the same time
        for name in os.listdir(folder):  # noqa: PTH208  # half the cost
            os.unlink(f"{folder}/{name}")  # noqa: PTH108
        folder.rmdir()


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


def _shown(config: ExecConfig) -> str:
    """Return the command as events show it (entry point, a blank, arguments)."""
    entry, *arguments = config.cmd or [""]
    return f"{entry} {' '.join(arguments)}"
