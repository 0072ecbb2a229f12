"""One container: its state, its lock, and the changes between states.

All changes happen under the lock. What waits for a process to end does so outside of it, because
the end itself is a change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flotilla_core.errors import ConflictError, NotModifiedError
from flotilla_engine.records import ContainerRecord, EndpointRecord
from flotilla_engine.state import Health
from flotilla_runtime_agent.containers import removal, stopping
from flotilla_runtime_agent.containers.execs import Execs, refuse_unless_running
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.logging_files import LogKeeper
from flotilla_runtime_agent.containers.peers import Peers
from flotilla_runtime_agent.containers.restarter import Restarter
from flotilla_runtime_agent.containers.runs import Runs
from flotilla_runtime_agent.containers.states import status_of
from flotilla_runtime_agent.containers.store import Stored
from flotilla_runtime_agent.containers.waits import Waits
from flotilla_runtime_agent.runtime.attach import Broadcast
from flotilla_runtime_agent.runtime.processes import ProcessRef


class Container:
    """A container of this node."""

    def __init__(
        self, host: Host, stored: Stored, peers: Peers, gone: Callable[[str], None]
    ) -> None:
        """Take what is stored; nothing is started. ``gone`` is told of the removal."""
        self.host = host
        self.stored = stored
        self.lock = asyncio.Lock()
        self.waits = Waits()
        self.execs = Execs(self)
        self.restarter = Restarter(self)
        self.runs = Runs(self, peers)
        self.is_gone = False
        self._gone = gone

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
        return self.host.cgroup(self.record)

    @property
    def is_live(self) -> bool:
        """Whether there is a process now."""
        return self.stored.run is not None

    @property
    def broadcast(self) -> Broadcast:
        """What goes in and out of the present run, or of the next one."""
        return self.runs.broadcast

    @property
    def logs(self) -> LogKeeper:
        """What all runs have written."""
        return self.runs.logs

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

    # -- what is done to it -------------------------------------------------------------------

    async def start(self, endpoints: list[EndpointRecord] | None = None) -> None:
        """Start it.

        Raises:
            FlotillaError: With dockerd's text; NOT_MODIFIED if it runs already.
        """
        async with self.lock:
            self._check_startable()
            self.restarter.cancel()
            if endpoints is not None:
                self.stored.endpoints = endpoints
            self.record.restart_count = 0
            self.record.manually_stopped = False
            self.stored.ends_for_good = False
            self.stored.backoff_ms = 0
            await self.runs.start()

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

    # -- for its parts ------------------------------------------------------------------------

    def set_health(self, health: Health | None, *, report: bool) -> None:
        """Keep a new health state."""
        self.record.state.health = health
        if not self.is_gone:
            self.save(report=report)

    def check_running(self) -> None:
        """Raise dockerd's refusal unless it runs and an exec can be made."""
        refuse_unless_running(self)
