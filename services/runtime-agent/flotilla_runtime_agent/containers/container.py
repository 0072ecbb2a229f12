"""One container: its state, its lock, and the changes between states.

All changes happen under the lock. What waits for a process to end does so outside of it, because
the end itself is a change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from flotilla_core.clock import now
from flotilla_core.errors import (
    ConflictError,
    FlotillaError,
    InternalError,
    NotModifiedError,
)
from flotilla_engine.records import ContainerRecord, EndpointRecord
from flotilla_engine.state import Health
from flotilla_runtime_agent.containers import failures, launch, removal, restarts, stopping
from flotilla_runtime_agent.containers.execs import Execs, refuse_unless_running
from flotilla_runtime_agent.containers.health import HealthMonitor
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.logging_files import LogKeeper
from flotilla_runtime_agent.containers.states import status_of
from flotilla_runtime_agent.containers.store import Stored, StoredProcess, StoredRun
from flotilla_runtime_agent.containers.waits import Exit, Waits
from flotilla_runtime_agent.runtime import conmon, oci
from flotilla_runtime_agent.runtime.attach import Broadcast
from flotilla_runtime_agent.runtime.cgroup import OomWatch
from flotilla_runtime_agent.runtime.conmon import Monitored, RuntimeFailedError
from flotilla_runtime_agent.runtime.processes import ProcessRef, gone

_LOG = logging.getLogger(__name__)
_DEFAULT_STOP_TIMEOUT_S = 10
_KILL_DEADLINE_S = 15
_LOST_EXIT_CODE = 137


class Container:
    """A container of this node."""

    def __init__(
        self, host: Host, stored: Stored, peers: launch.Peers, gone: Callable[[str], None]
    ) -> None:
        """Take what is stored; nothing is started. ``gone`` is told of the removal."""
        self.host = host
        self.stored = stored
        self.lock = asyncio.Lock()
        self.waits = Waits()
        self.execs = Execs(self)
        self.logs = LogKeeper(self)
        self.broadcast = self._new_broadcast()
        self.is_gone = False
        self._peers = peers
        self._gone = gone
        self._health = HealthMonitor(self)
        self._oom: OomWatch | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self._restarting: asyncio.Task[None] | None = None
        self._is_joined = stored.run is not None  # its networks and volumes
        self.keeps_once = False  # a restart under way: no automatic removal

    # -- what it is ---------------------------------------------------------------------------

    @property
    def record(self) -> ContainerRecord:
        """The container as it is now; changed only here and by its parts."""
        return self.stored.record

    @property
    def id(self) -> str:
        """Full id."""
        return self.stored.record.id

    @property
    def process(self) -> ProcessRef | None:
        """The container's first process, while it runs."""
        run = self.stored.run
        return run.process.ref() if run else None

    @property
    def cgroup(self) -> str:
        """Its cgroup path."""
        return launch.cgroup_of(self.host, self.record)

    @property
    def is_live(self) -> bool:
        """Whether there is a process now."""
        return self.stored.run is not None

    def _new_broadcast(self) -> Broadcast:
        bundle = self.host.paths.bundle(self.id)
        config = self.record.config
        hold = config.open_stdin and config.stdin_once and not config.tty
        return Broadcast(lambda: conmon.connect_attach(bundle), hold=hold)

    # -- telling ------------------------------------------------------------------------------

    def save(self, *, report: bool = True) -> None:
        """Write the container down after a change, and report it."""
        record = self.record
        record.state.status = status_of(record.state, is_removing=self.stored.is_removing)
        record.exec_ids = self.execs.open_ids()
        if report:
            record.revision += 1
        self.host.store.save(self.stored)
        if report:
            self.host.outlet.changed(record)

    def event(self, action: str, **attributes: str) -> None:
        """Tell that something happened to it."""
        base = {"image": self.record.image, "name": self.record.name}
        self.host.outlet.event(
            "container", action, self.id, {**self.record.config.labels, **base, **attributes}
        )

    def _network_events(self, action: str) -> None:
        for name, settings in self.record.networks.items():
            attributes = {"container": self.id, "name": name, "type": self._driver_of(name)}
            self.host.outlet.event("network", action, settings.network_id, attributes)

    def _has_joined(self) -> None:
        self._is_joined = True
        self._network_events("connect")
        for mount in self.stored.mounts:
            if mount.type == "volume":
                attributes = {
                    "container": self.id,
                    "destination": mount.destination,
                    "driver": mount.driver,
                    "propagation": mount.propagation,
                    "read/write": str(mount.rw).lower(),
                }
                self.host.outlet.event("volume", "mount", mount.name, attributes)

    def _has_left(self) -> None:
        if not self._is_joined:
            return
        self._is_joined = False
        self._network_events("disconnect")
        for mount in self.stored.mounts:
            if mount.type == "volume":
                attributes = {"container": self.id, "driver": mount.driver}
                self.host.outlet.event("volume", "unmount", mount.name, attributes)

    def _driver_of(self, network: str) -> str:
        return network if network in ("host", "none") else "bridge"

    # -- start --------------------------------------------------------------------------------

    async def start(self, endpoints: list[EndpointRecord] | None = None) -> None:
        """Start it.

        Raises:
            FlotillaError: With dockerd's text; NOT_MODIFIED if it runs already.
        """
        async with self.lock:
            self._check_startable()
            self.cancel_restart()
            if endpoints is not None:
                self.stored.endpoints = endpoints
            self.record.restart_count = 0
            self.record.manually_stopped = False
            self.stored.ends_for_good = False
            self.stored.backoff_ms = 0
            await self._start()

    def _check_startable(self) -> None:
        state = self.record.state
        if state.paused:
            raise ConflictError("cannot start a paused container, try unpause instead")
        if self.is_live or (state.running and not state.restarting):
            raise NotModifiedError("container already started")
        if self.stored.is_removing or self.is_gone:
            raise ConflictError("container is marked for removal and cannot be started")
        if state.dead:
            raise ConflictError("container is marked for removal and cannot be started")

    async def _start(self) -> None:
        """Start under the lock."""
        state = self.record.state
        state.error, state.exit_code, state.oom_killed = "", 0, False
        try:
            launched = await self._launch()
        except asyncio.CancelledError:
            await asyncio.shield(launch.clear(self.host, self.stored))
            raise
        except (RuntimeFailedError, FlotillaError, OSError, TimeoutError) as error:
            await self._start_failed(error)
        else:
            self._has_started(launched)

    async def _launch(self) -> Monitored:
        launched = await launch.Launch(self.host, self.stored, self._peers, self._has_joined).up()
        monitored = launched.monitored
        self.stored.run = StoredRun(
            monitor=StoredProcess.of(monitored.monitor),
            process=StoredProcess.of(monitored.process),
        )
        # Known before it runs: an agent that dies now finds it again.
        self.host.store.save(self.stored)
        if not self.record.sandbox_id:
            self._has_joined()
        self.broadcast.begin()
        if self.record.host_config.memory > 0:
            self._oom = OomWatch(self.cgroup, self.host.inotify, self._out_of_memory)
        runtime = self.host.runtime(self.record.host_config.runtime)
        try:
            await oci.start(runtime, self.id, monitored.process)
        except BaseException:
            await launch.discard(monitored)
            raise
        return monitored

    def _has_started(self, monitored: Monitored) -> None:
        state = self.record.state
        state.running, state.restarting, state.paused = True, False, False
        state.pid = monitored.process.pid
        state.started_at = now()
        self._ended.clear()
        self._health.begin()
        self.save()
        self.event("start")
        self._watch(monitored)

    def _watch(self, monitored: Monitored) -> None:
        self.logs.begin()
        self._health.start()
        self.host.background.start(self._until_end(monitored), f"watch {self.id[:12]}")

    async def _start_failed(self, error: Exception) -> None:
        if isinstance(error, RuntimeFailedError):
            failure = failures.of_create(str(error))
        elif isinstance(error, FlotillaError):
            failure = failures.of_other(error)
        else:
            _LOG.error("container %s: start failed", self.id, exc_info=error)
            failure = failures.of_other(InternalError(str(error) or type(error).__name__))
        self._close_run()
        self._has_left()
        await launch.clear(self.host, self.stored)
        state = self.record.state
        state.error, state.exit_code = failure.error.message, failure.exit_code
        state.running, state.restarting, state.pid = False, False, 0
        state.finished_at = state.finished_at if state.started_at is None else now()
        self._unwired()
        self.save()
        if self.record.host_config.auto_remove:
            self.remove_automatically()
        raise failure.error

    def _close_run(self) -> None:
        """Forget the processes of a run that is over."""
        self.stored.run = None
        if self._oom is not None:
            self._oom.close()
            self._oom = None
        self.broadcast.end()
        self.broadcast = self._new_broadcast()
        self._health.stop()
        self.logs.end()
        self._ended.set()

    def _unwired(self) -> None:
        """Forget addresses that are no longer the container's."""
        record = self.record
        record.sandbox_id = record.sandbox_key = ""
        record.ports = {}
        for settings in record.networks.values():
            settings.gateway = settings.ip_address = settings.ipv6_gateway = ""
            settings.ip_prefix_len = settings.global_ipv6_prefix_len = 0
            settings.global_ipv6_address = settings.endpoint_id = ""
            settings.mac_address = ""

    def _out_of_memory(self) -> None:
        if not self.record.state.oom_killed:
            self.record.state.oom_killed = True
            self.save(report=False)
        self.event("oom")

    # -- the end of a run ---------------------------------------------------------------------

    async def _until_end(self, monitored: Monitored) -> None:
        if monitored.child is not None:
            await monitored.child.wait()
        else:
            await gone(monitored.monitor)
        bundle = self.host.paths.bundle(self.id)
        code = conmon.exit_code(bundle, self.id)
        if code is None:
            _LOG.error("container %s: its monitor has ended early; it is killed", self.id)
            monitored.process.kill()
            await gone(monitored.process)
            code = _LOST_EXIT_CODE
        async with self.lock:
            await self._has_ended(code)

    async def _has_ended(self, code: int) -> None:
        state = self.record.state
        finished = now()
        ran_s = (finished - state.started_at).total_seconds() if state.started_at else 0.0
        if self.stored.run is not None:
            self.stored.run.exit_code = code
            self.host.store.save(self.stored)
        await self.execs.container_ended()
        self._close_run()
        await launch.clear(self.host, self.stored)
        self._has_left()
        self._unwired()
        state.pid, state.paused = 0, False
        state.exit_code, state.finished_at = code, finished
        wants_restart = restarts.should_restart(
            self.record.host_config.restart_policy,
            exit_code=code,
            restart_count=self.record.restart_count,
            was_stopped=self.stored.ends_for_good,
            was_signalled=self.record.manually_stopped,
        )
        state.running = state.restarting = wants_restart
        if wants_restart:
            self.record.restart_count += 1
            self.stored.backoff_ms = restarts.next_backoff_ms(self.stored.backoff_ms, ran_s)
        self.save()
        self.event("die", exitCode=str(code), execDuration=str(int(ran_s)))
        self.waits.exited(Exit(code))
        if wants_restart:
            self._restart_later()
        elif self.record.host_config.auto_remove and not self.keeps_once:
            self.remove_automatically()

    def _restart_later(self) -> None:
        name = f"restart {self.id[:12]}"
        self._restarting = self.host.background.start(self._restart_after_pause(), name)

    async def _restart_after_pause(self) -> None:
        await asyncio.sleep(self.stored.backoff_ms / 1000)
        async with self.lock:
            self._restarting = None
            if not self.record.state.restarting or self.stored.is_removing:
                return
            with suppress(FlotillaError):
                await self._start()

    def cancel_restart(self) -> None:
        """Do not start it again by itself."""
        if self._restarting is not None:
            self._restarting.cancel()
            self._restarting = None

    def remove_automatically(self) -> None:
        """Remove it in the background, as it was created with ``AutoRemove``."""
        self.host.background.start(self._auto_remove(), f"remove {self.id[:12]}")

    async def _auto_remove(self) -> None:
        with suppress(FlotillaError):
            await self.remove(volumes=True)

    async def ends_within(self, timeout_s: float | None) -> bool:
        """Wait for the end of the run; false if it does not come in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
                async with self.lock:  # what follows the end is done, too
                    return True
        except TimeoutError:
            return False

    # -- what is done to it -------------------------------------------------------------------

    async def stop(self, *, signal_name: str | None, timeout_s: int | None) -> None:
        """Stop it: its signal, and after the time SIGKILL. Raises: FlotillaError."""
        await stopping.stop(self, signal_name=signal_name, timeout_s=timeout_s)

    async def kill(self, signal_name: str, reference: str) -> None:
        """Send a signal; with SIGKILL wait for the end. Raises: FlotillaError."""
        await stopping.kill(self, signal_name, reference)

    async def restart(self, *, signal_name: str | None, timeout_s: int | None) -> None:
        """Stop it if it runs, and start it. Raises: FlotillaError."""
        await stopping.restart(self, signal_name=signal_name, timeout_s=timeout_s)

    async def pause(self) -> None:
        """Freeze it. Raises: FlotillaError."""
        await stopping.pause(self)

    async def unpause(self) -> None:
        """Let it go on. Raises: FlotillaError."""
        await stopping.unpause(self)

    async def remove(self, *, force: bool = False, volumes: bool = False) -> list[str]:
        """Remove it; returns the anonymous volumes that went with it. Raises: FlotillaError."""
        return await removal.remove(self, force=force, volumes=volumes)

    def has_gone(self) -> None:
        """It is removed."""
        self.is_gone = True
        self._gone(self.id)

    # -- adoption -----------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take over a process that a former agent started."""
        run = self.stored.run
        assert run is not None  # the caller has seen that it lives
        monitored = Monitored(run.monitor.ref(), run.process.ref())
        self._ended.clear()
        if self.record.host_config.memory > 0:
            self._oom = OomWatch(self.cgroup, self.host.inotify, self._out_of_memory)
        self.broadcast.begin()
        self._watch(monitored)

    async def ended_unseen(self, code: int) -> None:
        """Its process ended while there was no agent."""
        async with self.lock:
            await self._has_ended(code)

    async def start_again(self) -> None:
        """Start by its restart policy, after the host or the agent came up."""
        async with self.lock:
            if not self.is_live and not self.stored.is_removing:
                with suppress(FlotillaError):
                    await self._start()

    def resume_restart(self) -> None:
        """Go on waiting for the next run, as before the agent ended."""
        self._restart_later()

    def set_health(self, health: Health | None, *, report: bool) -> None:
        """Keep a new health state."""
        self.record.state.health = health
        if not self.is_gone:
            self.save(report=report)

    def check_running(self) -> None:
        """Raise dockerd's refusal unless it runs and an exec can be made."""
        refuse_unless_running(self)

    def attributes(self) -> Mapping[str, str]:
        """Return the labels, for events of others about it."""
        return self.record.config.labels
