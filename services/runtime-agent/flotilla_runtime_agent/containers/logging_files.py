"""The log of one container while it runs: rotated when it has grown, sent on where asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from flotilla_core.errors import FlotillaError, InternalError, NotImplementedYetError
from flotilla_runtime_agent.logs import drivers, reader
from flotilla_runtime_agent.logs.files import LogFiles, Pace
from flotilla_runtime_agent.logs.records import Renderer
from flotilla_runtime_agent.logs.shipping.drivers import Driver, connects_first, driver_of
from flotilla_runtime_agent.logs.shipping.message import Origin
from flotilla_runtime_agent.logs.shipping.shipper import Shipper
from flotilla_runtime_agent.runtime import conmon

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container

_LOG = logging.getLogger(__name__)
_NO_DRIVER = "failed to create task for container: failed to initialize logging driver"
_RETRY_S = 5.0
_LOOK_EVERY_S = 1.0


class LogKeeper:
    """Looks after a container's log."""

    def __init__(self, container: Container) -> None:
        """Look at nothing yet."""
        self._container = container
        self._files: LogFiles | None = None
        self._rotating: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()
        self._watch: int | None = None
        self._driver: Driver | None = None  # connected for the run that comes up
        self._shipping: asyncio.Task[None] | None = None
        self._followers: set[reader.Growth] = set()

    @property
    def files(self) -> LogFiles:
        """The log's files."""
        if self._files is None:
            config = self._container.record.host_config.log_config
            path = self._container.host.paths.log(self._container.id)
            self._files = LogFiles(path, drivers.rotation_of(config))
        return self._files

    async def prepare(self) -> None:
        """Have the driver ready for a run, connected to where the log is shipped.

        Raises:
            InternalError: With dockerd's text; the container does not start then.
        """
        config = self._container.record.host_config.log_config
        try:
            drivers.check_values(config, self._container.record.config)
            if connects_first(config):
                driver = driver_of(config, self.origin())
                await asyncio.to_thread(driver.connect)
                self._driver = driver
        except FlotillaError as error:
            raise InternalError(f"{_NO_DRIVER}: {error.message}") from error

    def begin(self) -> None:
        """The container runs."""
        config = self._container.record.host_config.log_config
        if config.type == "none":
            return
        if self.files.rotation.max_bytes:
            self._watch_growth()
            name = f"rotate {self._container.id[:12]}"
            self._rotating = self._container.host.background.start(self._rotate(), name)
        if config.type in drivers.SHIPPED:
            growth = reader.Growth(
                self._container.host.inotify, lambda: not self._container.is_live
            )
            self._followers.add(growth)
            name = f"ship {self._container.id[:12]}"
            driver = self._driver or driver_of(config, self.origin())
            self._driver = None
            self._container.host.background.start(self._ship(growth, driver), name)

    async def _ship(self, growth: reader.Growth, driver: Driver) -> None:
        before = self._shipping
        if before is not None and not before.done():
            await asyncio.wait([before])  # what an earlier run has written goes first
        self._shipping = asyncio.current_task()
        try:
            await Shipper(self.files, driver).run(growth)
        finally:
            self._followers.discard(growth)

    def origin(self) -> Origin:
        """Return what shipped lines say of their container."""
        record = self._container.record
        config = record.host_config.log_config
        return Origin(
            container_id=record.id,
            container_name=f"/{record.name}",
            image_id=record.image_id,
            image_name=record.image,
            command=" ".join([record.path, *record.args]),
            created=record.created.isoformat(),
            tag=self._tag(),
            extra=drivers.extra_attributes(config, record.config),
        )

    def _tag(self) -> str:
        record = self._container.record
        return drivers.tag_of(
            record.host_config.log_config.config.get("tag", ""),
            container_id=record.id,
            name=record.name,
            image=record.image,
            image_id=record.image_id,
            command=[record.path, *record.args],
        )

    def _watch_growth(self) -> None:
        self._unwatch()
        try:
            self._watch = self._container.host.inotify.watch(self.files.path, self._grown.set)
        except OSError as error:
            _LOG.warning(
                "container %s: its log is looked at now and then: %s", self._container.id, error
            )

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._container.host.inotify.unwatch(self._watch, self._grown.set)
            self._watch = None

    async def _rotate(self) -> None:
        bundle = self._container.host.paths.bundle(self._container.id)
        pace = Pace(self.files.rotation.max_bytes)
        while True:
            if self.files.is_due:
                try:
                    await self.files.rotate(lambda: conmon.reopen_log(bundle))
                except OSError as error:  # a full disk, or conmon does not open it anew
                    reason = error.strerror or "it was not opened anew"
                    _LOG.error("container %s: log not rotated: %s", self._container.id, reason)
                    await asyncio.sleep(_RETRY_S)
                self._watch_growth()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._watch is not None else _LOOK_EVERY_S):
                    await self._grown.wait()
            self._grown.clear()
            await asyncio.sleep(pace.pause_s(self.files.size, time.monotonic()))

    def end(self) -> None:
        """The container has ended, or has not come up; all of its output is in the log."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None
        if self._rotating is not None:
            self._rotating.cancel()
            self._rotating = None
        self._unwatch()
        for follower in list(self._followers):
            follower.woken()

    def details(self) -> bytes:
        """Return what ``--details`` puts before each line."""
        record = self._container.record
        config = record.host_config.log_config
        attributes = drivers.extra_attributes(config, record.config)
        if config.config.get("tag"):
            attributes["tag"] = self._tag()
        return drivers.details(attributes)

    def check_readable(self) -> None:
        """Raise dockerd's refusal if the driver keeps nothing to read."""
        config = self._container.record.host_config.log_config
        is_uncached = config.config.get("cache-disabled", "").lower() in ("true", "1")
        if config.type == "none" or (config.type in drivers.SHIPPED and is_uncached):
            raise NotImplementedYetError("configured logging driver does not support reading")

    async def read(
        self,
        renderer: Renderer,
        *,
        tail: int = -1,
        follow: bool = False,
        until_s: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the log; a follower goes on until the run ends.

        Raises:
            FlotillaError: If the driver keeps nothing to read.
        """
        self.check_readable()
        growth = None
        if follow and self._container.is_live:
            growth = reader.Growth(
                self._container.host.inotify, lambda: not self._container.is_live
            )
            self._followers.add(growth)
        try:
            lines = reader.read(self.files, renderer, tail=tail, growth=growth, until_s=until_s)
            async with aclosing(lines):
                async for data in lines:
                    yield data
        finally:
            if growth is not None:
                self._followers.discard(growth)
