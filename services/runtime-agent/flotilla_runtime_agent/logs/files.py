"""The files of one container's log: the current one, and older ones ``.1``, ``.2``, ….

conmon writes the current file. The agent rotates: it renames the file, then has conmon open the
path anew; what conmon writes in between lands in the renamed file, so no line is lost.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_REOPEN_DEADLINE_S = 10


@dataclass(frozen=True)
class Rotation:
    """When to rotate; a size of 0 means never."""

    max_bytes: int = 0
    max_files: int = 1
    compress: bool = False


class Pace:
    """When to look at a growing file again, so that it is seen soon after it reaches its limit."""

    _SHORTEST_S = 0.004
    _LONGEST_S = 0.1

    def __init__(self, limit: int) -> None:
        """Know nothing yet of how fast it grows."""
        self._limit = limit
        self._seen = (0.0, 0)

    def pause_s(self, size: int, now_s: float) -> float:
        """Return half of the time that is left at the rate since the last look."""
        (before_s, before), self._seen = self._seen, (now_s, size)
        grown = size - before
        if not before_s or grown <= 0:
            return self._SHORTEST_S
        left_s = (self._limit - size) * (now_s - before_s) / grown
        return min(max(left_s / 2, self._SHORTEST_S), self._LONGEST_S)


class LogFiles:
    """The segments of a log, numbered upwards from the oldest; the newest is being written."""

    def __init__(self, path: Path, rotation: Rotation) -> None:
        """Look at what is there."""
        self.path = path
        self.rotation = rotation
        self._newest = 0
        self._changing = asyncio.Lock()
        while self._old(self._newest + 1) is not None:
            self._newest += 1

    def _old(self, age: int) -> Path | None:
        for suffix in ("", ".gz"):
            path = self.path.with_name(f"{self.path.name}.{age}{suffix}")
            if path.exists():
                return path
        return None

    @property
    def newest(self) -> int:
        """Number of the segment that is being written."""
        return self._newest

    @property
    def oldest(self) -> int:
        """Number of the oldest segment that is still there."""
        age = 0
        while self._old(age + 1) is not None:
            age += 1
        return self._newest - age

    def is_closed(self, segment: int) -> bool:
        """Whether nothing is written to a segment any more.

        After a rotation conmon goes on in the renamed file until it has made the new one.
        """
        return segment < self._newest - 1 or (segment < self._newest and self.path.exists())

    def location(self, segment: int) -> Path | None:
        """Return a segment's file, None if it is gone."""
        return self.path if segment == self._newest else self._old(self._newest - segment)

    def open(self, segment: int) -> IO[bytes] | None:
        """Open a segment for reading, unpacked; None if it is not there (any more)."""
        if segment == self._newest:
            return self.path.open("rb") if self.path.exists() else None
        path = self._old(self._newest - segment)
        if path is None:
            return None
        if path.suffix != ".gz":
            return path.open("rb")
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
        with gzip.open(path) as packed:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        unpacked.seek(0)
        return unpacked

    @property
    def size(self) -> int:
        """Size of the current file."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    @property
    def is_due(self) -> bool:
        """Whether the current file has grown past its limit."""
        return 0 < self.rotation.max_bytes <= self.size

    async def rotate(self, reopen: Callable[[], None]) -> None:
        """Rotate once; ``reopen`` tells conmon. Does nothing where it is not due."""
        async with self._changing:
            if not self.is_due:
                return
            keep = max(self.rotation.max_files - 1, 1)
            self._shift(keep)
            reopen()
            async with asyncio.timeout(_REOPEN_DEADLINE_S):
                while not self.path.exists():  # noqa: ASYNC110  # conmon makes it
                    await asyncio.sleep(0.005)
            if self.rotation.max_files < 2:
                self.path.with_name(f"{self.path.name}.1").unlink(missing_ok=True)
            elif self.rotation.compress:
                await asyncio.to_thread(self._compress)

    def _shift(self, keep: int) -> None:
        age = keep
        while (path := self._old(age)) is not None:
            path.unlink()
            age += 1
        for age in range(keep - 1, 0, -1):
            path = self._old(age)
            if path is not None:
                suffix = ".gz" if path.suffix == ".gz" else ""
                path.rename(self.path.with_name(f"{self.path.name}.{age + 1}{suffix}"))
        self.path.rename(self.path.with_name(f"{self.path.name}.1"))
        self._newest += 1

    def _compress(self) -> None:
        plain = self.path.with_name(f"{self.path.name}.1")
        packed = self.path.with_name(f"{self.path.name}.1.gz")
        partial = packed.with_suffix(".tmp")
        with plain.open("rb") as source, gzip.open(partial, "wb", compresslevel=6) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        partial.rename(packed)
        plain.unlink()

    def remove(self) -> None:
        """Delete all segments."""
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink(missing_ok=True)


def size_of(file: IO[bytes]) -> int:
    """Return the size of an open file."""
    return os.fstat(file.fileno()).st_size
