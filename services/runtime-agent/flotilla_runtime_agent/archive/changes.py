"""``docker diff``: what the writable layer changed, by the rules of dockerd's overlay2.

Source: ``pkg/archive/changes.go`` and ``changes_linux.go`` of moby.
"""

# ruff: noqa: PTH120
# Plain strings instead of paths, since this runs for every file of an archive.

import os
import stat
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path

from flotilla_bus.contracts.agent import Change

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


class Kind(IntEnum):
    """What happened to a path."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


def changes(upper: Path, lower: Sequence[Path]) -> list[Change]:
    """Return what differs between the layers below and the writable one, by path. Blocks.

    The folders above a change count as modified.
    """
    found: dict[str, Kind] = {}
    for path, status in _walk(upper, ""):
        kind = _kind_of(upper, lower, path, status)
        if kind is None:
            continue
        found[path] = kind
        while (path := os.path.dirname(path)) != "/":
            found.setdefault(path, Kind.MODIFIED)
    return [Change(path=path, kind=found[path]) for path in sorted(found)]


def _walk(upper: Path, folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(f"{upper}{folder}") as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            status = entry.stat(follow_symlinks=False)
            path = f"{folder}/{entry.name}"
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(upper, path)


def _kind_of(upper: Path, lower: Sequence[Path], path: str, status: os.stat_result) -> Kind | None:
    below = _lower_status(lower, path)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return Kind.DELETED
    if below is None:
        return Kind.ADDED
    if stat.S_ISDIR(status.st_mode) and stat.S_ISDIR(below.st_mode):
        if _is_opaque(f"{upper}{path}"):
            return Kind.MODIFIED
        same = (
            status.st_mode == below.st_mode
            and status.st_size == below.st_size
            and status.st_mtime_ns == below.st_mtime_ns
        )
        return None if same else Kind.MODIFIED
    return Kind.MODIFIED


def _lower_status(lower: Sequence[Path], path: str) -> os.stat_result | None:
    """Return what the layers below have at a path; a whiteout hides what is under it."""
    for layer in lower:
        place = str(layer)
        for part in path.strip("/").split("/"):
            place = f"{place}/{part}"
            try:
                status = os.lstat(place)
            except OSError:
                break
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                return None
        else:
            return status
        if _hidden_from_below(str(layer), path):
            return None
    return None


def _hidden_from_below(layer: str, path: str) -> bool:
    place = layer
    for part in path.strip("/").split("/"):
        place = f"{place}/{part}"
        if not os.path.lexists(place):
            return False
        if _is_opaque(place):
            return True
    return False


def _is_opaque(place: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(place, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False
