"""The outcomes of mutating requests, kept for a while: a request sent again finds its first one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from flotilla_bus import errors
from flotilla_core.errors import FlotillaError

KEPT_S = 120.0
KEPT_AT_MOST = 10_000


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
        self._known: dict[str, tuple[float, asyncio.Future[Outcome]]] = {}

    async def once(self, request_id: str, run: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Return the outcome of the request, running it if it was not seen before."""
        known = self._known.get(request_id)
        if known is not None:
            return await asyncio.shield(known[1])
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._known[request_id] = (loop.time(), future)
        try:
            outcome = await run()
        except BaseException:
            self._known.pop(request_id, None)
            future.cancel()
            raise
        future.set_result(outcome)
        self._known[request_id] = (loop.time(), future)
        self._forget_old(loop.time())
        return outcome

    def _forget_old(self, now: float) -> None:
        """Drop from the oldest; requests under way stay."""
        for request_id, (since, future) in list(self._known.items()):
            if now - since < KEPT_S and len(self._known) <= KEPT_AT_MOST:
                return
            if future.done():
                del self._known[request_id]
