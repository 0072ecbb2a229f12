"""Sends a log's lines on, from its file, so that nothing is lost while a receiver is away."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress

from flotilla_runtime_agent.logs.files import LogFiles
from flotilla_runtime_agent.logs.reader import Growth, Position, chunks
from flotilla_runtime_agent.logs.shipping.drivers import Driver
from flotilla_runtime_agent.logs.shipping.message import Joiner, Line

_LOG = logging.getLogger(__name__)
_BATCH = 500
_RETRY_S = (0.5, 1.0, 2.0, 5.0)


class Shipper:
    """How far a log has been sent is kept beside it, by inode and offset.

    Each line is sent at least once: what was sent just before this process died is sent again.
    """

    def __init__(self, files: LogFiles, driver: Driver) -> None:
        """Send nothing yet."""
        self._files = files
        self._driver = driver
        self._place = files.path.with_name("shipped")
        self._joiner = Joiner()

    async def run(self, growth: Growth) -> None:
        """Send until the run has ended and all of it is sent."""
        try:
            async with aclosing(chunks(self._files, self._start(), growth=growth)) as log:
                async for position, chunk in log:
                    lines = list(self._joiner.lines(chunk))
                    for at in range(0, len(lines), _BATCH):
                        await self._send(lines[at : at + _BATCH])
                    self._keep(position)
        finally:
            self._driver.close()

    async def _send(self, lines: list[Line]) -> None:
        attempt = 0
        while True:
            try:
                await asyncio.to_thread(self._driver.send, lines)
            except OSError as error:
                _LOG.info("log of %s is not sent yet: %s", self._place.parent.name, error)
                await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1
            else:
                return

    def _start(self) -> Position:
        """Return where to go on."""
        with suppress(OSError, ValueError):
            inode, offset = (int(word) for word in self._place.read_text().split())
            for segment in range(self._files.newest, self._files.oldest - 1, -1):
                if self._inode(segment) == inode:
                    return Position(segment, offset)
        return Position(self._files.oldest, 0)

    def _inode(self, segment: int) -> int:
        path = self._files.location(segment)
        return path.stat().st_ino if path is not None and path.exists() else 0

    def _keep(self, position: Position) -> None:
        partial = self._place.with_name("shipped.new")
        partial.write_text(f"{self._inode(position.segment)} {position.offset}")
        partial.replace(self._place)
