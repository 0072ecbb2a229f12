"""What containers need of their host: folders, programs, and the parts beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.host_config import RUNC_SHIM
from flotilla_engine.records import ContainerRecord
from flotilla_runtime_agent.containers.outlet import Outlet
from flotilla_runtime_agent.containers.store import Store
from flotilla_runtime_agent.ports import Networks, Snapshots, Volumes
from flotilla_runtime_agent.runtime.conmon import OciRuntime
from flotilla_runtime_agent.runtime.inotify import Inotify

_LOG = logging.getLogger(__name__)


class Background:
    """Tasks that belong to the agent as a whole; a failure is logged with its traceback."""

    def __init__(self) -> None:
        """Own no tasks yet."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run in the background until done or the agent ends."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("%s failed", task.get_name(), exc_info=task.exception())

    async def close(self) -> None:
        """Cancel everything and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Paths:
    """Folders and programs."""

    data: Path
    run: Path  # short: sockets live below
    conmon: Path = Path("/usr/bin/conmon")
    init: Path = Path("/usr/bin/tini-static")

    @property
    def containers(self) -> Path:
        """Where containers' files are."""
        return self.data / "containers"

    def bundle(self, container_id: str) -> Path:
        """Return the folder of a run, there only while it lasts."""
        return self.run / container_id

    def log(self, container_id: str) -> Path:
        """Return the path of a container's log."""
        return self.containers / container_id / f"{container_id}.log"


@dataclass
class Host:
    """This host, as containers see it."""

    node_id: str
    paths: Paths
    cgroup_parent: str
    runtimes: Mapping[str, OciRuntime]
    default_runtime: str
    store: Store
    snapshots: Snapshots
    networks: Networks
    volumes: Volumes
    outlet: Outlet
    inotify: Inotify
    background: Background = field(default_factory=Background)

    def runtime(self, name: str) -> OciRuntime:
        """Return the runtime of that name; empty: the default.

        Raises:
            InvalidArgumentError: With dockerd's text.
        """
        known = "runc" if name == RUNC_SHIM else name
        chosen = self.runtimes.get(known or self.default_runtime)
        if chosen is None:
            raise InvalidArgumentError(f"unknown or invalid runtime name: {name}")
        return chosen

    def cgroup(self, record: ContainerRecord) -> str:
        """Return a container's cgroup path."""
        parent = record.host_config.cgroup_parent or self.cgroup_parent
        return f"{parent.rstrip('/') if parent.startswith('/') else '/' + parent}/{record.id}"
