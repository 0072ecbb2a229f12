"""A tar stream extracted into a folder; blocks, for the thread that is in the container's root.

dockerd's rules (``archive.Unpack`` in moby): what is in the way is replaced, but a folder is
merged with a folder.
"""

# ruff: noqa: PTH101, PTH102, PTH103, PTH108, PTH211
# Plain strings instead of paths, since this runs for every file of an archive.

import contextlib
import os
import posixpath
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from flotilla_bus.blocking import Buffer
from flotilla_core.errors import InvalidArgumentError
from flotilla_oci.compression import Decompressor
from flotilla_oci.tarstream import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    Entry,
    TarReader,
)


@dataclass(frozen=True)
class Unpacking:
    """How to extract; ``owner`` (uid, gid) replaces the owners in the archive."""

    folder: str
    no_overwrite_dir_non_dir: bool = False
    owner: tuple[int, int] | None = None


def unpack(incoming: Iterator[Buffer], how: Unpacking) -> None:
    """Extract an archive, plain or compressed.

    Raises:
        InvalidArgumentError: If it is no archive, an entry leads out of the folder, or a file and
            a folder are in each other's place and that was forbidden.
    """
    reader = TarReader(_plain(incoming))
    folders: list[tuple[str, float]] = []
    for entry in reader:
        path = _place(how.folder, entry.name)
        if path == how.folder:
            continue
        parent = posixpath.dirname(path)
        if not os.path.lexists(parent):
            os.makedirs(parent, 0o755)
        _make_way(entry, path, how)
        _create(reader, entry, path, how)
        _set_attributes(entry, path, how)
        if entry.kind == DIRECTORY:
            folders.append((path, entry.mtime))
    reader.drain()
    for path, mtime in reversed(folders):
        with contextlib.suppress(FileNotFoundError):  # replaced by a later entry
            os.utime(path, (mtime, mtime))


def _plain(incoming: Iterator[Buffer]) -> Iterator[Buffer]:
    """Decompress; what is plain already goes on in the buffers in which it came."""
    decompressor = Decompressor()
    is_plain = False
    for data in incoming:
        for piece in decompressor.feed(bytes(data)):
            yield piece
            is_plain = not decompressor.kind
        if is_plain:
            yield from incoming
    yield from decompressor.finish()


def _place(folder: str, name: str) -> str:
    if posixpath.normpath(name).split("/", 1)[0] == "..":
        raise InvalidArgumentError(f'"{name}" is outside of "{folder}"')
    inside = posixpath.normpath("/" + name).strip("/")
    return f"{folder.rstrip('/')}/{inside}".rstrip("/") or "/"


def _make_way(entry: Entry, path: str, how: Unpacking) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    is_folder, wants_folder = stat.S_ISDIR(status.st_mode), entry.kind == DIRECTORY
    if how.no_overwrite_dir_non_dir and is_folder != wants_folder:
        here = "directory" if is_folder else "non-directory"
        there = "directory" if wants_folder else "non-directory"
        raise InvalidArgumentError(f'cannot overwrite {here} "{path}" with {there} "{how.folder}"')
    if is_folder and not wants_folder:
        shutil.rmtree(path)
    elif not is_folder:
        os.unlink(path)


def _create(reader: TarReader, entry: Entry, path: str, how: Unpacking) -> None:
    if entry.kind == DIRECTORY:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, entry.mode)
    elif entry.kind == REGULAR:
        _write_file(reader, path)
    elif entry.kind == SYMLINK:
        os.symlink(entry.link, path)
    elif entry.kind == HARD_LINK:
        os.link(_linked(how.folder, entry.link), path, follow_symlinks=False)
    elif entry.kind == FIFO:
        os.mkfifo(path, entry.mode)
    elif entry.kind in (CHARACTER, BLOCK):
        type_bits = stat.S_IFCHR if entry.kind == CHARACTER else stat.S_IFBLK
        os.mknod(path, type_bits | entry.mode, os.makedev(*entry.device))
    else:
        raise InvalidArgumentError(f"unhandled tar header type {ord(entry.kind)}")


def _linked(folder: str, name: str) -> str:
    try:
        return _place(folder, name)
    except InvalidArgumentError:
        target = posixpath.normpath(f"{folder}/{name}")
        raise InvalidArgumentError(f'invalid hardlink "{target}" -> "{name}"') from None


def _set_attributes(entry: Entry, path: str, how: Unpacking) -> None:
    if entry.kind == HARD_LINK:
        return
    uid, gid = how.owner or (entry.uid, entry.gid)
    os.chown(path, uid, gid, follow_symlinks=False)
    for name, value in entry.xattrs.items():
        with contextlib.suppress(OSError):  # the file system has none
            os.setxattr(path, name, value, follow_symlinks=False)
    if entry.kind != SYMLINK:
        os.chmod(path, entry.mode)
    if entry.kind != DIRECTORY:
        os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)


def _write_file(reader: TarReader, path: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    writing = os.open(path, flags, 0o600)
    try:
        for part in reader.content():
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(writing, rest) :]
    finally:
        os.close(writing)
