"""One container: its state, its lock, and the changes between states.

All changes happen under the lock. What waits for a process to end does so outside of it, because
the end itself is a change.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

from flotilla_core.clock import now
from flotilla_core.errors import (
    ConflictError,
    FlotillaError,
    InternalError,
    InvalidArgumentError,
    NotModifiedError,
)
from flotilla_engine.records import ContainerRecord, EndpointRecord
from flotilla_engine.state import Health
from flotilla_runtime_agent.containers import failures, launch, restarts
from flotilla_runtime_agent.containers.execs import Execs, refuse_unless_running
from flotilla_runtime_agent.containers.health import HealthMonitor
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.logging_files import LogKeeper
from flotilla_runtime_agent.containers.signals import number_of
from flotilla_runtime_agent.containers.states import is_restarting, not_running, status_of
from flotilla_runtime_agent.containers.store import Stored, StoredProcess, StoredRun
from flotilla_runtime_agent.containers.waits import Exit, Waits
from flotilla_runtime_agent.runtime import cgroup, conmon, oci
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
        self._keep_once = False  # a restart under way: no automatic removal

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
            self._cancel_restart()
            if endpoints is not None:
                self.stored.endpoints = endpoints
            self.record.restart_count = 0
            self.record.manually_stopped = False
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
            self._remove_automatically()
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
            was_stopped=self.record.manually_stopped,
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
        elif self.record.host_config.auto_remove and not self._keep_once:
            self._remove_automatically()

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

    def _cancel_restart(self) -> None:
        if self._restarting is not None:
            self._restarting.cancel()
            self._restarting = None

    def _remove_automatically(self) -> None:
        self.host.background.start(self._auto_remove(), f"remove {self.id[:12]}")

    async def _auto_remove(self) -> None:
        with suppress(FlotillaError):
            await self.remove(volumes=True)

    # -- signals ------------------------------------------------------------------------------

    async def stop(self, *, signal_name: str | None, timeout_s: int | None) -> None:
        """Stop it: its signal, and after the time SIGKILL.

        Raises:
            FlotillaError: NOT_MODIFIED if it does not run.
        """
        if not self.record.state.running:
            raise NotModifiedError("container already stopped")
        chosen = signal_name or self.record.config.stop_signal or "TERM"
        number = number_of(chosen)
        await self._stop(number, self._stop_timeout(timeout_s))
        self.event("stop")

    def _stop_timeout(self, timeout_s: int | None) -> int:
        if timeout_s is not None:
            return timeout_s
        own = self.record.config.stop_timeout
        return _DEFAULT_STOP_TIMEOUT_S if own is None else own

    async def _stop(self, number: int, timeout_s: int) -> None:
        if await self._stopped_between_runs():
            return
        with suppress(FlotillaError):
            await self._send(number, is_final=True)
        if not await self._ends_within(timeout_s if timeout_s >= 0 else None):
            with suppress(FlotillaError):
                await self._send(signal.SIGKILL, is_final=True)
            if not await self._ends_within(_KILL_DEADLINE_S):
                raise InternalError(
                    f"cannot stop container: {self.id}: tried to kill container, "
                    "but did not receive an exit event"
                )

    async def _stopped_between_runs(self) -> bool:
        """End the wait for the next run, if that is where it is."""
        async with self.lock:
            if self.is_live:
                self.record.manually_stopped = True
                return False
            self.record.manually_stopped = True
            self._cancel_restart()
            state = self.record.state
            was_restarting = state.restarting
            state.running = state.restarting = False
            self.save()
            if was_restarting:
                self.waits.exited(Exit(state.exit_code))
                if self.record.host_config.auto_remove and not self._keep_once:
                    self._remove_automatically()
            return True

    async def _ends_within(self, timeout_s: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
                async with self.lock:  # what follows the end is done, too
                    return True
        except TimeoutError:
            return False

    async def kill(self, signal_name: str, reference: str) -> None:
        """Send a signal; with SIGKILL wait for the end.

        Raises:
            FlotillaError: With dockerd's text.
        """
        shown = reference or self.record.name
        try:
            number = number_of(signal_name)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(
                f"cannot kill container: {shown}: {error.message}"
            ) from error
        if not self.record.state.running:
            raise ConflictError(
                f"cannot kill container: {shown}: container {self.id} is not running"
            )
        own = self.record.config.stop_signal
        is_final = number == signal.SIGKILL or not own or number == number_of(own)
        if is_final and await self._stopped_if_restarting():
            return
        await self._send(number, is_final=is_final)
        if number == signal.SIGKILL:
            await self._ends_within(_KILL_DEADLINE_S)

    async def _stopped_if_restarting(self) -> bool:
        return self.record.state.restarting and await self._stopped_between_runs()

    async def _send(self, number: int, *, is_final: bool) -> None:
        async with self.lock:
            process = self.process
            if process is None:
                raise not_running(self.id)
            self.record.manually_stopped = True
            self.host.store.save(self.stored)
            process.kill(number)
            if is_final and self.record.state.paused:
                await self._thaw()
            self.event("kill", signal=str(number))

    async def restart(self, *, signal_name: str | None, timeout_s: int | None) -> None:
        """Stop it if it runs, and start it. Raises: FlotillaError."""
        self._keep_once = True
        try:
            if self.record.state.running:
                await self.stop(signal_name=signal_name, timeout_s=timeout_s)
        finally:
            self._keep_once = False
        await self.start()
        self.event("restart")

    # -- freezing -----------------------------------------------------------------------------

    async def pause(self) -> None:
        """Freeze it. Raises: FlotillaError."""
        async with self.lock:
            state = self.record.state
            if not state.running:
                raise not_running(self.id)
            if state.paused:
                raise ConflictError(f"Container {self.id} is already paused")
            if state.restarting:
                raise is_restarting(self.id)
            try:
                await cgroup.freeze(self.cgroup)
            except (OSError, TimeoutError) as error:
                with suppress(OSError, TimeoutError):
                    await cgroup.thaw(self.cgroup)
                raise InternalError(f"cannot pause container {self.id}: {error}") from error
            state.paused = True
            self.save()
            self.event("pause")

    async def unpause(self) -> None:
        """Let it go on. Raises: FlotillaError."""
        async with self.lock:
            if not self.record.state.paused:
                raise ConflictError(f"Container {self.id} is not paused")
            await self._thaw()
            self.save()

    async def _thaw(self) -> None:
        try:
            await cgroup.thaw(self.cgroup)
        except (OSError, TimeoutError) as error:
            raise InternalError(f"cannot unpause container {self.id}: {error}") from error
        self.record.state.paused = False
        self.event("unpause")

    # -- removal ------------------------------------------------------------------------------

    async def remove(self, *, force: bool = False, volumes: bool = False) -> list[str]:
        """Remove it; returns the anonymous volumes that went with it.

        Raises:
            FlotillaError: With dockerd's text.
        """
        async with self.lock:
            if self.is_gone or self.stored.is_removing:
                raise ConflictError(
                    f"removal of container {self.record.name} is already in progress"
                )
            if self.record.state.running and not force:
                raise self._refusal_to_remove()
            self.stored.is_removing = True
            self._cancel_restart()
            self.record.manually_stopped = True
            self.save(report=False)
        try:
            if self.is_live:
                await self._kill_for_removal()
            return await self._take_away(volumes=volumes)
        except BaseException:
            if not self.is_gone:
                self.stored.is_removing = False
                self.save()
            raise

    def _refusal_to_remove(self) -> ConflictError:
        state = self.record.state
        prefix = f'cannot remove container "/{self.record.name}": container is '
        if state.paused:
            return ConflictError(prefix + "paused and must be unpaused first")
        kind = "restarting" if state.restarting else "running"
        return ConflictError(f"{prefix}{kind}: stop the container before removing or force remove")

    async def _kill_for_removal(self) -> None:
        with suppress(FlotillaError):
            await self._send(signal.SIGKILL, is_final=True)
        if not await self._ends_within(_KILL_DEADLINE_S):
            raise InternalError(
                f"cannot remove container {self.id}: could not kill: tried to kill container, but "
                "did not receive an exit event"
            )

    async def _take_away(self, *, volumes: bool) -> list[str]:
        async with self.lock:
            await launch.clear(self.host, self.stored)
            await self.host.snapshots.remove(self.id)
            gone_volumes = await self._remove_volumes() if volumes else []
            self.host.store.remove(self.id)
            self.is_gone = True
            self._gone(self.id)
            self.execs.forget()
            self.record.revision += 1
            self.event("destroy")
            self.host.outlet.removed(self.id, self.record.revision, gone_volumes)
            self.broadcast.end()
            self.waits.removed(Exit(self.record.state.exit_code))
            return gone_volumes

    async def _remove_volumes(self) -> list[str]:
        removed = []
        for mount in self.stored.mounts:
            if mount.type == "volume" and mount.is_anonymous:
                with suppress(FlotillaError):  # another container uses it
                    await self.host.volumes.remove(mount.name)
                    removed.append(mount.name)
                    attributes = {"driver": mount.driver}
                    self.host.outlet.event("volume", "destroy", mount.name, attributes)
        return removed

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
