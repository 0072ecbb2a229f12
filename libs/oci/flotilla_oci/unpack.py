"""Unpacks one layer into a folder, in a process of its own that has this folder as its root.

The process changes its root first, so that no link in an archive leads out of it (as dockerd's
chrootarchive does), and a layer costs its caller neither time in its loop nor memory.

    python -m flotilla_oci.unpack FOLDER overlay|plain < layer > result

The result is one JSON object: `diff_id` and `size_bytes`, or `error`.
"""
# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH208, PTH211 - tens of thousands of files: a Path object for each costs more than the call

import contextlib
import hashlib
import json
import os
import posixpath
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_oci import tarstream
from flotilla_oci.compression import decompressed
from flotilla_oci.tarstream import Entry, TarReader

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_META = ".wh..wh."
OPAQUE_XATTR = "trusted.overlay.opaque"
_READ_BYTES = 1 << 20
_SPECIAL = {
    tarstream.CHARACTER: stat.S_IFCHR,
    tarstream.BLOCK: stat.S_IFBLK,
    tarstream.FIFO: stat.S_IFIFO,
}


@dataclass(frozen=True)
class Unpacked:
    """What was unpacked."""

    diff_id: str
    size_bytes: int
    """The sum of the members' sizes, which is a layer's size in Docker's words."""


class LayerUnpacker:
    """Writes the members of a layer below the root folder, whose links must not lead outside."""

    def __init__(self, root: str, *, overlay: bool) -> None:
        """Unpack into `root`.

        Args:
            root: The folder; `/` in a process that changed its root.
            overlay: Write deletions in overlayfs's form; otherwise delete.
        """
        self._root = root.rstrip("/")
        self._overlay = overlay
        self._known = {"/"}
        self._written: set[str] = set()
        self._folder_times: dict[str, float] = {}
        self._size = 0

    def unpack(self, chunks: Iterator[bytes]) -> int:
        """Unpack the plain archive and return its size.

        Raises:
            InvalidArgumentError: If the archive is damaged.
            OSError: If something cannot be written.
        """
        archive = TarReader(chunks)
        for entry in archive:
            self._size += entry.size
            path = posixpath.normpath("/" + entry.name)
            folder, _, name = path.rpartition("/")
            self._need_folder(folder or "/")
            if name.startswith(WHITEOUT):
                self._delete(folder, name, entry)
                continue
            self._write(path, entry, archive)
            if not self._overlay:
                self._written.add(path)
        archive.drain()
        for path, moment in reversed(self._folder_times.items()):
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._root + path, (moment, moment), follow_symlinks=False)
        return self._size

    def _need_folder(self, path: str) -> None:
        if path in self._known:
            return
        parent = path.rpartition("/")[0] or "/"
        self._need_folder(parent)
        target = self._root + path
        try:
            os.mkdir(target, 0o755)
        except FileExistsError:
            if not os.path.isdir(target):
                raise
        self._known.add(path)

    def _delete(self, folder: str, name: str, entry: Entry) -> None:
        if name == OPAQUE:
            if self._overlay:
                os.setxattr(self._root + (folder or "/"), OPAQUE_XATTR, b"y")
            else:
                self._empty(folder)
            return
        if name.startswith(_META):
            return
        target = f"{self._root}{folder}/{name.removeprefix(WHITEOUT)}"
        if not name.removeprefix(WHITEOUT) or name.removeprefix(WHITEOUT) in (".", ".."):
            raise InvalidArgumentError(f"invalid whiteout {name}")
        self._remove(target)
        if self._overlay:
            os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))
            os.chown(target, entry.uid, entry.gid, follow_symlinks=False)

    def _empty(self, folder: str) -> None:
        """Remove what lower layers put into the folder, and keep what this one wrote."""
        for name in os.listdir(self._root + (folder or "/")):
            path = f"{folder}/{name}"
            if not any(own == path or own.startswith(path + "/") for own in self._written):
                self._remove(self._root + path)

    def _remove(self, target: str) -> None:
        try:
            mode = os.lstat(target).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            shutil.rmtree(target)
            self._known = {"/"}
        else:
            os.unlink(target)
            if stat.S_ISLNK(mode):
                self._known = {"/"}

    def _write(self, path: str, entry: Entry, archive: TarReader) -> None:
        target = self._root + path
        match entry.kind:
            case tarstream.REGULAR:
                self._write_file(target, entry, archive)
                return
            case tarstream.DIRECTORY:
                self._write_folder(path, target)
                self._folder_times[path] = entry.mtime
            case tarstream.SYMLINK:
                self._anew(target, lambda: os.symlink(entry.link, target))
            case tarstream.HARD_LINK:
                source = self._root + posixpath.normpath("/" + entry.link)
                if source != target:
                    self._anew(target, lambda: os.link(source, target, follow_symlinks=False))
                return
            case kind if kind in _SPECIAL:
                mode, device = _SPECIAL[kind] | entry.mode, os.makedev(*entry.device)
                self._anew(target, lambda: os.mknod(target, mode, device))
            case _:
                raise InvalidArgumentError(f"unhandled tar header type {ord(entry.kind)}")
        self._set_attributes(target, entry)

    def _write_folder(self, path: str, target: str) -> None:
        if path == "/":
            return
        try:
            os.mkdir(target, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(target).st_mode):
                self._remove(target)
                os.mkdir(target, 0o700)
        self._known.add(path)

    def _write_file(self, target: str, entry: Entry, archive: TarReader) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(target, flags, entry.mode & 0o777)
        except FileExistsError:
            self._remove(target)
            file = os.open(target, flags, entry.mode & 0o777)
        try:
            for part in archive.content():
                rest = memoryview(part)
                while rest:
                    rest = rest[os.write(file, rest) :]
            if entry.uid or entry.gid:
                os.fchown(file, entry.uid, entry.gid)
            for name, value in entry.xattrs.items():
                _set_xattr(file, name, value)
            if entry.mode & 0o7000:
                os.fchmod(file, entry.mode)
            os.utime(file, (entry.mtime, entry.mtime))
        finally:
            os.close(file)

    def _anew(self, target: str, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._remove(target)
            make()

    def _set_attributes(self, target: str, entry: Entry) -> None:
        os.chown(target, entry.uid, entry.gid, follow_symlinks=False)
        for name, value in entry.xattrs.items():
            _set_xattr(target, name, value)
        if entry.kind != tarstream.SYMLINK:
            os.chmod(target, entry.mode)
        if entry.kind != tarstream.DIRECTORY:
            os.utime(target, (entry.mtime, entry.mtime), follow_symlinks=False)


def _set_xattr(target: int | str, name: str, value: bytes) -> None:
    if name.startswith("trusted.overlay."):
        return
    try:
        if isinstance(target, int):
            os.setxattr(target, name, value)
        else:
            os.setxattr(target, name, value, follow_symlinks=False)
    except OSError:
        if name.startswith("security.capability"):
            raise


def unpack(chunks: Iterator[bytes], root: str, *, overlay: bool) -> Unpacked:
    """Unpack a compressed or plain layer below `root`, which should be the process's root."""
    sha = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in decompressed(chunks):
            sha.update(chunk)
            yield chunk

    size = LayerUnpacker(root, overlay=overlay).unpack(hashed())
    return Unpacked("sha256:" + sha.hexdigest(), size)


def enter(folder: str) -> None:
    """Make the folder this process's root and current folder, and drop the mask of new files."""
    os.chroot(folder)
    os.chdir("/")
    os.umask(0)


def main() -> int:
    """Unpack standard input into the folder that the first argument names."""
    folder, form = sys.argv[1:3]
    enter(folder)
    try:
        result = unpack(iter(lambda: os.read(0, _READ_BYTES), b""), "/", overlay=form == "overlay")
    except (FlotillaError, OSError) as error:
        json.dump({"error": str(error)}, sys.stdout)
        return 1
    json.dump({"diff_id": result.diff_id, "size_bytes": result.size_bytes}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
