"""What happens by itself after a run: the next one after a pause, or the removal."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from flotilla_core.errors import FlotillaError

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container


class Restarter:
    """Starts one container again, or removes it, without being asked to."""

    def __init__(self, container: Container) -> None:
        """Wait for nothing yet."""
        self._container = container
        self._pausing: asyncio.Task[None] | None = None
        self.keeps_once = False  # a restart by hand is under way: no automatic removal

    def restart_later(self) -> None:
        """Start the container after the pause that its record names."""
        name = f"restart {self._container.id[:12]}"
        self._pausing = self._container.host.background.start(self._restart_after_pause(), name)

    async def _restart_after_pause(self) -> None:
        container = self._container
        await asyncio.sleep(container.stored.backoff_ms / 1000)
        async with container.lock:
            self._pausing = None
            if not container.record.state.restarting or container.stored.is_removing:
                return
            with suppress(FlotillaError):
                await container.runs.start()

    def cancel(self) -> None:
        """Do not start it again by itself."""
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None

    def remove_if_wanted(self) -> None:
        """Remove it in the background if it was created with ``AutoRemove``."""
        container = self._container
        if container.record.host_config.auto_remove and not self.keeps_once:
            container.host.background.start(self._remove(), f"remove {container.id[:12]}")

    async def _remove(self) -> None:
        with suppress(FlotillaError):
            await self._container.remove(volumes=True)
