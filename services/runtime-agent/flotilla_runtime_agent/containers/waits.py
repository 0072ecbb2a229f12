"""Who waits for a container to exit or to be gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True)
class Exit:
    """What a wait comes to."""

    code: int
    error: str = ""


class Waits:
    """Waiters of one container."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._for_exit: set[asyncio.Future[Exit]] = set()
        self._for_removal: set[asyncio.Future[Exit]] = set()

    def exit(self) -> asyncio.Future[Exit]:
        """Register for the next exit; registered when this returns."""
        return self._register(self._for_exit)

    def removal(self) -> asyncio.Future[Exit]:
        """Register for the removal."""
        return self._register(self._for_removal)

    def _register(self, waiting: set[asyncio.Future[Exit]]) -> asyncio.Future[Exit]:
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        waiting.add(future)
        future.add_done_callback(waiting.discard)
        return future

    def exited(self, outcome: Exit) -> None:
        """Tell those who wait for an exit."""
        _tell(self._for_exit, outcome)

    def removed(self, outcome: Exit) -> None:
        """Tell everyone: there will be no other exit."""
        _tell(self._for_exit, outcome)
        _tell(self._for_removal, outcome)


def _tell(waiting: set[asyncio.Future[Exit]], outcome: Exit) -> None:
    for future in list(waiting):
        if not future.done():
            future.set_result(outcome)
