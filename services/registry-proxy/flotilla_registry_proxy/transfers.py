"""Layers on their way into the image store: one download however many pulls want the layer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum

from flotilla_core.errors import FlotillaError, InternalError

_log = logging.getLogger(__name__)


class Stage(Enum):
    """How far a layer is."""

    WAITING = "Waiting"
    DOWNLOADING = "Downloading"
    VERIFYING = "Verifying Checksum"
    DONE = "Download complete"


@dataclass
class Transfer:
    """A layer on its way, as its watchers see it."""

    source: str
    digest: str
    total: int
    stage: Stage = Stage.WAITING
    current: int = 0
    error: FlotillaError | None = None
    watchers: int = 0
    task: asyncio.Task[None] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def at(self, stage: Stage, current: int = 0) -> None:
        """Tell the watchers how far it is."""
        self.stage, self.current = stage, current
        self.notify()

    def notify(self) -> None:
        """Wake the watchers."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changes(self) -> AsyncIterator[None]:
        """Yield now, and after each change, until the layer is there.

        Raises:
            FlotillaError: If it cannot be had.
        """
        while True:
            changed = self._changed
            yield
            if self.error is not None:
                raise self.error
            if self.stage is Stage.DONE:
                return
            await changed.wait()


Work = Callable[[Transfer], Awaitable[None]]


class Transfers:
    """All layers under way; a transfer that nobody watches any more is given up."""

    def __init__(self) -> None:
        """Start with none."""
        self._under_way: dict[tuple[str, str], Transfer] = {}

    def join(self, source: str, digest: str, total: int, work: Work) -> Transfer:
        """Watch the transfer of a layer, begun now unless it is under way already.

        Args:
            source: Registry and repository; another may refuse what this one gives.
            digest: The layer.
            total: Its size in bytes.
            work: What transfers it.
        """
        key = (source, digest)
        transfer = self._under_way.get(key)
        if transfer is None:
            transfer = Transfer(source, digest, total)
            self._under_way[key] = transfer
            transfer.task = asyncio.create_task(self._run(transfer, work))
        transfer.watchers += 1
        return transfer

    def leave(self, transfer: Transfer) -> None:
        """Stop watching."""
        transfer.watchers -= 1
        if not transfer.watchers and transfer.task is not None:
            self._forget(transfer)
            transfer.task.cancel()

    async def close(self) -> None:
        """Give up everything."""
        tasks = [one.task for one in self._under_way.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, transfer: Transfer) -> None:
        key = (transfer.source, transfer.digest)
        if self._under_way.get(key) is transfer:
            del self._under_way[key]

    async def _run(self, transfer: Transfer, work: Work) -> None:
        try:
            await work(transfer)
            transfer.stage = Stage.DONE
        except FlotillaError as error:
            transfer.error = error
        except Exception:  # noqa: BLE001 - its watchers must hear of it
            _log.exception("layer %s cannot be transferred", transfer.digest)
            transfer.error = InternalError("internal error")
        finally:
            self._forget(transfer)
            transfer.notify()
