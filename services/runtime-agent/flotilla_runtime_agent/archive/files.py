"""``docker cp`` and ``docker export``: paths by dockerd's rules, content as tar streams."""

import asyncio
import errno
import os
import posixpath
import stat
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, suppress
from typing import TypeVar

from flotilla_bus.blocking import Buffer
from flotilla_bus.contracts.agent import PathStat
from flotilla_core.errors import (
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from flotilla_engine.timestamps import rfc3339_nano_of_ns
from flotilla_runtime_agent.archive.packing import Packer
from flotilla_runtime_agent.archive.pipes import (
    ByteReader,
    ByteWriter,
    Handover,
    chunks,
    opened_pipe,
)
from flotilla_runtime_agent.archive.unpacking import Unpacking, unpack
from flotilla_runtime_agent.archive.view import FileView, call_inside

T = TypeVar("T")

# Go's os.FileMode.
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_SPECIAL = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


async def stat_path(view: FileView, path: str, container: str) -> PathStat:
    """Describe a path; ``container`` is the reference for the error's text.

    Raises:
        NotFoundError: If there is no such file.
    """
    wanted = absolute(path)
    return await _answered(call_inside(view, lambda: _stat(wanted)), path, container)


async def send_path(view: FileView, path: str, container: str, stream: ByteWriter) -> None:
    """Write the file or folder at a path to the stream, as a tar; the caller ends the stream.

    Raises:
        NotFoundError: If there is no such file.
    """
    wanted = absolute(path)

    def pack(writing: int) -> None:
        packer = Packer(writing)
        packer.add_tree(wanted, _entry_name(wanted))
        packer.finish()

    await _answered(_send(view, pack, stream), path, container)


async def send_all(view: FileView, stream: ByteWriter, *, all_attributes: bool = False) -> None:
    """Write everything below the view's root to the stream, as a tar."""

    def pack(writing: int) -> None:
        packer = Packer(writing, all_attributes=all_attributes)
        packer.add_tree("/", "")
        packer.finish()

    await _answered(_send(view, pack, stream), "/", "")


async def receive_path(
    view: FileView,
    path: str,
    container: str,
    stream: ByteReader,
    *,
    no_overwrite_dir_non_dir: bool = False,
    owner: tuple[int, int] | None = None,
) -> None:
    """Extract the tar that comes from the stream into the folder at a path.

    Args:
        view: The container's files.
        path: An existing folder.
        container: The reference, for the error's text.
        stream: The tar, plain or compressed.
        no_overwrite_dir_non_dir: Refuse to replace a folder by a file and the other way round.
        owner: Replaces the owners that the archive has (``copyUIDGID``).

    Raises:
        NotFoundError: If there is no such folder.
        InvalidArgumentError: If it is no folder, or the archive is bad.
        PermissionDeniedError: If it may not be written.
    """
    wanted = absolute(path)

    def extract(incoming: Iterator[Buffer]) -> None:
        folder = os.path.realpath(wanted)
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise InvalidArgumentError("extraction point is not a directory")
        if view.is_read_only(folder):
            raise PermissionDeniedError("mounted volume is marked read-only")
        if view.read_only and not view.is_in_mount(folder):
            raise PermissionDeniedError("container rootfs is marked read-only")
        unpack(incoming, Unpacking(folder, no_overwrite_dir_non_dir, owner))

    await _answered(_receive(view, extract, stream), path, container)


def absolute(path: str) -> str:
    """Return the cleaned path from the root, with a dot or slash at its end kept."""
    cleaned = posixpath.normpath("/" + path).replace("//", "/")
    last = path.rsplit("/", 1)[-1]
    if last == "." and not cleaned.endswith("/."):
        return cleaned.rstrip("/") + "/."
    if path.endswith("/") and cleaned != "/":
        return cleaned + "/"
    return cleaned


def _entry_name(path: str) -> str:
    """Return Go's ``filepath.Base`` of a path."""
    return path.rstrip("/").rsplit("/", 1)[-1] or "/"


def _stat(path: str) -> PathStat:
    status = os.lstat(path)
    target = os.path.realpath(path) if stat.S_ISLNK(status.st_mode) else ""
    return PathStat(
        name=_entry_name(path),
        size=status.st_size,
        mode=go_mode(status.st_mode),
        mtime=rfc3339_nano_of_ns(status.st_mtime_ns),
        link_target=target,
    )


def go_mode(mode: int) -> int:
    """Return Go's ``os.FileMode`` of a mode of stat(2)."""
    bits = stat.S_IMODE(mode) & 0o777 | _GO_TYPES.get(stat.S_IFMT(mode), 0)
    for special, go_bit in _GO_SPECIAL.items():
        if mode & special:
            bits |= go_bit
    return bits


async def _send(view: FileView, pack: Callable[[int], None], stream: ByteWriter) -> None:
    reading, writing = opened_pipe()

    def work() -> None:
        try:
            pack(writing)
        finally:
            os.close(writing)

    packing = asyncio.ensure_future(call_inside(view, work))
    try:
        async for data in chunks(reading):
            await stream.write(data)
        await packing
    finally:
        # The thread, if it still packs, finds nobody reading and ends.
        os.close(reading)
        with suppress(Exception):
            await packing


async def _receive(
    view: FileView, extract: Callable[[Iterator[Buffer]], None], stream: ByteReader
) -> None:
    incoming = await stream.blocking_input()
    if incoming is None:
        await _receive_here(view, extract, stream)
        return

    def work() -> None:
        with closing(incoming.chunks()) as chunks:
            extract(chunks)

    extracting = asyncio.ensure_future(call_inside(view, work))
    try:
        await asyncio.shield(extracting)
    except ConnectionResetError:
        while await stream.take():  # raises what has happened
            pass
        raise
    finally:
        incoming.stop()
        await asyncio.wait([extracting])


async def _receive_here(
    view: FileView, extract: Callable[[Iterator[Buffer]], None], stream: ByteReader
) -> None:
    """Receive in the event loop, and hand over to the thread."""
    handover = Handover()

    def work() -> None:
        try:
            extract(handover.chunks())
        finally:
            handover.abandon()

    extracting = asyncio.ensure_future(call_inside(view, work))
    is_whole = False
    try:
        with suppress(BrokenPipeError):  # the thread has failed, and says why below
            while data := await stream.take():
                await handover.put(data)
            is_whole = True
    finally:
        handover.end(broken=not is_whole)
        await asyncio.wait([extracting])
    await extracting


async def _answered(work: Coroutine[object, object, T], path: str, container: str) -> T:
    try:
        return await work
    except FileNotFoundError:
        raise NotFoundError(f"Could not find the file {path} in container {container}") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO).lower()
        raise InternalError(f"lstat {error.filename or path}: {reason}") from error
