"""The runs of a container: each comes up, is watched, and ends.

What changes the container's state is called under its lock, but for what says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from flotilla_core.clock import now
from flotilla_core.errors import FlotillaError, InternalError
from flotilla_runtime_agent.containers import clearing, failures, restarts
from flotilla_runtime_agent.containers.health import HealthMonitor
from flotilla_runtime_agent.containers.joins import Joins
from flotilla_runtime_agent.containers.launch import Launch
from flotilla_runtime_agent.containers.logging_files import LogKeeper
from flotilla_runtime_agent.containers.peers import Peers
from flotilla_runtime_agent.containers.store import StoredProcess, StoredRun
from flotilla_runtime_agent.containers.waits import Exit
from flotilla_runtime_agent.runtime import conmon, oci
from flotilla_runtime_agent.runtime.attach import Broadcast
from flotilla_runtime_agent.runtime.cgroup import OomWatch
from flotilla_runtime_agent.runtime.conmon import Monitored, RuntimeFailedError
from flotilla_runtime_agent.runtime.processes import gone

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container

_LOG = logging.getLogger(__name__)
LOST_EXIT_CODE = 137
"""What a run has ended with if nobody knows."""


class Runs:
    """The present run of one container, if there is one, and the next."""

    def __init__(self, container: Container, peers: Peers) -> None:
        """Watch nothing yet: a run that is there already is adopted."""
        self._container = container
        self._peers = peers
        self.logs = LogKeeper(container)
        self.broadcast = self._new_broadcast()
        self._joins = Joins(container)
        self._health = HealthMonitor(container)
        self._oom: OomWatch | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self._stops: list[object] = []  # requests that wait for the end

    def _new_broadcast(self) -> Broadcast:
        container = self._container
        bundle = container.host.paths.bundle(container.id)
        config = container.record.config
        hold = config.open_stdin and config.stdin_once and not config.tty
        return Broadcast(lambda: conmon.connect_attach(bundle), hold=hold)

    # -- it comes up --------------------------------------------------------------------------

    async def start(self) -> None:
        """Have the container run.

        Raises:
            FlotillaError: With dockerd's text; the container has kept it, too.
        """
        host, stored = self._container.host, self._container.stored
        state = stored.record.state
        state.error, state.exit_code, state.oom_killed = "", 0, False
        try:
            monitored = await self._launch()
        except asyncio.CancelledError:
            await asyncio.shield(clearing.clear(host, stored))
            raise
        except (RuntimeFailedError, FlotillaError, OSError, TimeoutError) as error:
            await self._start_failed(error)
        else:
            self._has_started(monitored)

    async def _launch(self) -> Monitored:
        host, stored = self._container.host, self._container.stored
        await self.logs.prepare()
        monitored = await Launch(host, stored, self._peers, self._joins.joined).up()
        stored.run = StoredRun(
            monitor=StoredProcess.of(monitored.monitor),
            process=StoredProcess.of(monitored.process),
        )
        # Known before it runs: an agent that dies now finds it again.
        host.store.save_or_fail(stored)
        if not stored.record.sandbox_id:
            self._joins.joined()
        self.broadcast.begin()
        self._watch_memory()
        runtime = host.runtime(stored.record.host_config.runtime)
        try:
            await oci.start(runtime, self._container.id, monitored.process)
        except BaseException:
            await clearing.discard(monitored)
            raise
        return monitored

    def _has_started(self, monitored: Monitored) -> None:
        state = self._container.record.state
        state.running, state.restarting, state.paused = True, False, False
        state.pid = monitored.process.pid
        state.started_at = now()
        self._ended.clear()
        self._health.begin()
        self._container.save()
        self._container.event("start")
        self._watch(monitored)

    async def _start_failed(self, error: Exception) -> None:
        container = self._container
        if isinstance(error, RuntimeFailedError):
            failure = failures.of_create(str(error))
        elif isinstance(error, FlotillaError):
            failure = failures.of_other(error)
        else:
            _LOG.error("container %s: start failed", container.id, exc_info=error)
            failure = failures.of_other(InternalError(str(error) or type(error).__name__))
        self._close()
        self._joins.left()
        await clearing.clear(container.host, container.stored)
        state = container.record.state
        state.error, state.exit_code = failure.error.message, failure.exit_code
        state.running, state.restarting, state.pid = False, False, 0
        state.finished_at = state.finished_at if state.started_at is None else now()
        container.save()
        container.restarter.remove_if_wanted()
        raise failure.error

    # -- it is watched ------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take over a process that a former agent started."""
        run = self._container.stored.run
        assert run is not None  # the caller has seen that it lives
        self._ended.clear()
        self._watch_memory()
        self.broadcast.begin()
        self._watch(Monitored(run.monitor.ref(), run.process.ref()))

    def _watch(self, monitored: Monitored) -> None:
        self.logs.begin()
        self._health.start()
        name = f"watch {self._container.id[:12]}"
        self._container.host.background.start(self._until_end(monitored), name)

    def _watch_memory(self) -> None:
        container = self._container
        if container.record.host_config.memory > 0:
            self._oom = OomWatch(container.cgroup, container.host.inotify, self._out_of_memory)

    def _out_of_memory(self) -> None:
        state = self._container.record.state
        if not state.oom_killed:
            state.oom_killed = True
            self._container.save(report=False)
        self._container.event("oom")

    async def _until_end(self, monitored: Monitored) -> None:
        container = self._container
        if monitored.child is not None:
            await monitored.child.wait()
        else:
            await gone(monitored.monitor)
        code = conmon.exit_code(container.host.paths.bundle(container.id), container.id)
        if code is None:
            _LOG.error("container %s: its monitor has ended early; it is killed", container.id)
            monitored.process.kill()
            await gone(monitored.process)
            code = LOST_EXIT_CODE
        async with container.lock:
            await self._has_ended(code)

    # -- it ends ------------------------------------------------------------------------------

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait, without the lock, for the end of the run; false if it does not come in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
                async with self._container.lock:  # what follows the end is done, too
                    return True
        except TimeoutError:
            return False

    @contextmanager
    def stop_expected(self) -> Iterator[None]:
        """Without the lock: a request stops the container.

        As with dockerd its event is told before that of the end, or when the request is done.
        """
        request = object()
        self._stops.append(request)
        try:
            yield
            if request in self._stops:
                self._container.event("stop")
        finally:
            self._stops = [other for other in self._stops if other is not request]

    async def ended_unseen(self, code: int) -> None:
        """Without the lock: the process ended while there was no agent."""
        async with self._container.lock:
            await self._has_ended(code)

    async def _has_ended(self, code: int) -> None:
        container, stored = self._container, self._container.stored
        state = stored.record.state
        finished = now()
        ran_s = (finished - state.started_at).total_seconds() if state.started_at else 0.0
        if stored.run is not None:
            stored.run.exit_code = code
            container.host.store.save(stored)
        await container.execs.container_ended()
        self._close()
        await clearing.clear(container.host, stored)
        self._joins.left()
        state.pid, state.paused = 0, False
        state.exit_code, state.finished_at = code, finished
        wants_restart = self._wants_restart(ran_s)
        container.save()
        for _ in self._stops:
            container.event("stop")
        self._stops.clear()
        container.event("die", exitCode=str(code), execDuration=str(int(ran_s)))
        container.waits.exited(Exit(code))
        if wants_restart:
            container.restarter.restart_later()
        else:
            container.restarter.remove_if_wanted()

    def _wants_restart(self, ran_s: float) -> bool:
        """Decide, and note what the decision brings with it."""
        record, stored = self._container.record, self._container.stored
        wants_restart = restarts.should_restart(
            record.host_config.restart_policy,
            exit_code=record.state.exit_code,
            restart_count=record.restart_count,
            was_stopped=stored.ends_for_good,
            was_signalled=record.manually_stopped,
        )
        record.state.running = record.state.restarting = wants_restart
        if wants_restart:
            record.restart_count += 1
            stored.backoff_ms = restarts.next_backoff_ms(stored.backoff_ms, ran_s)
        return wants_restart

    def _close(self) -> None:
        """Forget the processes of a run that is over."""
        self._container.stored.run = None
        if self._oom is not None:
            self._oom.close()
            self._oom = None
        self.broadcast.end()
        self.broadcast = self._new_broadcast()
        self._health.stop()
        self.logs.end()
        self._ended.set()

    async def start_again(self) -> None:
        """Without the lock: start by the restart policy, after the host or the agent came up."""
        container = self._container
        async with container.lock:
            if not container.is_live and not container.stored.is_removing:
                with suppress(FlotillaError):
                    await self.start()
