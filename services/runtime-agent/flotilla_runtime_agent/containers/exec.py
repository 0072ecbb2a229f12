"""One exec of a container: prepared, started once, found again after the agent's death."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from flotilla_core.errors import ConflictError, FlotillaError
from flotilla_engine.exec import ExecConfig
from flotilla_engine.records import ExecRecord
from flotilla_runtime_agent.containers import failures
from flotilla_runtime_agent.containers.launch import PROCESS_FILE
from flotilla_runtime_agent.containers.store import StoredProcess, StoredRun
from flotilla_runtime_agent.runtime import conmon
from flotilla_runtime_agent.runtime.attach import Broadcast
from flotilla_runtime_agent.runtime.conmon import (
    ExecStart,
    Monitored,
    Monitoring,
    RuntimeFailedError,
)
from flotilla_runtime_agent.runtime.processes import gone
from flotilla_runtime_agent.spec.build import exec_process

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container

_ANSWER_FIRST_S = 0.001
_READY_S = 10.0
_CANNOT_INVOKE = 126
FILE = "exec.json"


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
        self._preparing: asyncio.Task[ExecStart] | None = None

    @property
    def record(self) -> ExecRecord:
        """The exec as it is now."""
        return self._stored.record

    def save(self) -> None:
        """Write it down."""
        partial = self.folder / "exec.new"
        partial.write_text(self._stored.model_dump_json())
        partial.replace(self.folder / FILE)

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
        self.event(f"exec_start: {shown(self.record.config)}")
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

    @property
    def is_ready(self) -> bool:
        """Whether its monitor waits for the start, or is on its way there."""
        return self._preparing is not None

    def get_ready(self) -> None:
        """Have its monitor wait for the start, which will come at once if it comes at all.

        The monitor would go on if this agent died, but what it is to start is written only then.
        """
        loop = asyncio.get_running_loop()
        self._preparing = loop.create_task(self._prepared(tty=self.record.config.tty, soon=True))
        loop.call_later(_READY_S, self._give_up)

    async def _prepared(self, *, tty: bool, soon: bool = False) -> ExecStart:
        if soon:
            await asyncio.sleep(_ANSWER_FIRST_S)
        container = self._container
        config = self.record.config
        self.folder.mkdir(parents=True, exist_ok=True)
        return await conmon.prepare_exec(
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

    def _give_up(self) -> None:
        """End a monitor that waits for a start which does not come."""
        if self._preparing is not None:
            self._container.host.background.start(
                self._dropped(), f"exec {self.record.id[:12]} given up"
            )

    async def _dropped(self) -> None:
        preparing, self._preparing = self._preparing, None
        if preparing is not None:
            with suppress(RuntimeFailedError, FlotillaError, OSError, TimeoutError):
                await (await preparing).abandon()
            remove_folder(self.folder)

    async def _starting(self, *, tty: bool) -> ExecStart:
        """Return its monitor, prepared before if there was time."""
        if tty != self.record.config.tty:
            await self._dropped()
        preparing, self._preparing = self._preparing, None
        return await (preparing or self._prepared(tty=tty))

    async def _run(self, *, tty: bool, size: list[int] | None) -> Monitored:
        container = self._container
        config = self.record.config
        bundle = container.host.paths.bundle(container.id)
        base = json.loads((bundle / PROCESS_FILE).read_text())
        root = Path(base["root"])
        user = container.record.config.user
        process = exec_process(base["process"], config, tty=tty, root=root, user=user)
        starting = await self._starting(tty=tty)
        try:
            (self.folder / conmon.EXEC_PROCESS).write_text(json.dumps(process))
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
        asyncio.get_running_loop().run_in_executor(None, remove_folder, self.folder)

    def kill(self) -> None:
        """Kill its process."""
        run = self._stored.run
        if run is not None:
            run.process.ref().kill()

    def container_ended(self) -> None:
        """The container has ended, and this with it."""
        self._give_up()
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


def remove_folder(folder: Path) -> None:
    """Remove what an exec has on disk."""
    with suppress(OSError):  # the container's whole folder may be going at the same time
        for name in os.listdir(folder):  # noqa: PTH208  # half the cost
            os.unlink(f"{folder}/{name}")  # noqa: PTH108
        folder.rmdir()


def shown(config: ExecConfig) -> str:
    """Return the command as events show it (entry point, a blank, arguments)."""
    entry, *arguments = config.cmd or [""]
    return f"{entry} {' '.join(arguments)}"
