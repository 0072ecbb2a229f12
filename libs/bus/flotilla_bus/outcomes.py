"""The outcomes of mutating requests, kept for a while: a request sent again finds its first one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from flotilla_bus import errors
from flotilla_core.errors import FlotillaError

KEPT_S = 120.0
KEPT_AT_MOST = 10_000
KEPT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Outcome:
    """An answer as it is sent: a payload, and the headers of an error."""

    payload: bytes
    headers: dict[str, str] | None = None

    @classmethod
    def of_error(cls, error: FlotillaError) -> Outcome:
        """Return the outcome that is an error."""
        return cls(b"", errors.to_headers(error))


class Outcomes:
    """Runs each request id once; equal ones join the first or get its outcome."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._running: dict[str, asyncio.Future[Outcome]] = {}
        self._kept: dict[str, tuple[float, Outcome]] = {}
        self._kept_bytes = 0

    async def once(self, request_id: str, run: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Return the outcome of the request, running it if it was not seen before."""
        if request_id in self._kept:
            return self._kept[request_id][1]
        if request_id in self._running:
            return await asyncio.shield(self._running[request_id])
        loop = asyncio.get_running_loop()
        future = self._running[request_id] = loop.create_future()
        try:
            outcome = await run()
            future.set_result(outcome)
            self._kept[request_id] = (loop.time(), outcome)
            self._kept_bytes += len(outcome.payload)
        finally:
            del self._running[request_id]
            future.cancel()
        self._forget_old(loop.time())
        return outcome

    def _forget_old(self, now: float) -> None:
        """Drop from the oldest."""
        while self._kept:
            oldest = next(iter(self._kept))
            since, outcome = self._kept[oldest]
            is_room = len(self._kept) <= KEPT_AT_MOST and self._kept_bytes <= KEPT_BYTES
            if is_room and now - since < KEPT_S:
                return
            self._kept_bytes -= len(outcome.payload)
            del self._kept[oldest]
