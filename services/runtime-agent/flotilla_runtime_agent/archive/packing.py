"""A folder or file as a tar stream; blocks, for the thread that is in the container's root.

As dockerd's ``archive.Tarballer``: PAX, times in whole seconds, no user names, hard links kept,
sockets left out, of the extended attributes only capabilities.
"""

# ruff: noqa: PTH115
# Plain strings instead of paths, since this runs for every file of an archive.

import os
import stat
import tarfile
from collections.abc import Iterator

_BLOCK = 512
_CHUNK = 1 << 20
_CAPABILITIES = "security.capability"
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}


class Packer:
    """Writes one tar to a blocking descriptor.

    Args:
        writing: The descriptor, which the caller closes.
        all_attributes: Keep all extended attributes, not only capabilities.
    """

    def __init__(self, writing: int, *, all_attributes: bool = False) -> None:
        """Write nothing yet."""
        self._writing = writing
        self._all_attributes = all_attributes
        self._linked: dict[tuple[int, int], str] = {}

    def add_tree(self, path: str, name: str) -> None:
        """Add what is at path, and all below it, under a name; without one only what is below."""
        status = os.lstat(path)
        if name:
            self._add(path, name, status)
        if stat.S_ISDIR(status.st_mode):
            prefix = f"{name.rstrip('/')}/" if name else ""
            for entry_path, entry_name in _below(path, prefix):
                try:
                    entry_status = os.lstat(entry_path)
                except FileNotFoundError:
                    continue
                self._add(entry_path, entry_name, entry_status)

    def finish(self) -> None:
        """Write the end of the archive."""
        self._write(bytes(2 * _BLOCK))

    def _add(self, path: str, name: str, status: os.stat_result) -> None:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:  # a socket
            return
        info = tarfile.TarInfo(name)
        info.type = kind
        info.mode = stat.S_IMODE(status.st_mode)
        info.uid, info.gid = status.st_uid, status.st_gid
        info.mtime = int(status.st_mtime)
        if kind == tarfile.SYMTYPE:
            info.linkname = os.readlink(path)
        elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if kind != tarfile.REGTYPE:
            if kind == tarfile.DIRTYPE:
                info.pax_headers = self._attributes(path)
            self._write(_header(info))
            return
        if status.st_nlink > 1:
            first = self._linked.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                info.type, info.linkname = tarfile.LNKTYPE, first
                self._write(_header(info))
                return
        self._add_content(path, info)

    def _add_content(self, path: str, info: tarfile.TarInfo) -> None:
        # The container may put a pipe in the file's place meanwhile: opening must not wait.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            reading = os.open(path, flags)
        except FileNotFoundError:
            return
        try:
            status = os.fstat(reading)
            if not stat.S_ISREG(status.st_mode):
                return
            info.size = status.st_size
            info.pax_headers = self._attributes(reading)
            self._write(_header(info))
            left = info.size
            while left:
                sent = os.sendfile(self._writing, reading, None, min(left, _CHUNK))
                if sent == 0:  # the file has become shorter
                    break
                left -= sent
            self._write(bytes(left + -info.size % _BLOCK))
        finally:
            os.close(reading)

    def _attributes(self, file: int | str) -> dict[str, str]:
        try:
            names = os.listxattr(file) if self._all_attributes else [_CAPABILITIES]
            values = {name: os.getxattr(file, name) for name in names}
        except OSError:
            return {}
        return {
            f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
            for name, value in values.items()
        }

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._writing, rest) :]


def _below(folder: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield (path, name) of all below a folder, each folder before what is in it, by name."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    except FileNotFoundError:
        return
    for name, is_folder in entries:
        path = f"{folder.rstrip('/')}/{name}"
        yield path, prefix + name
        if is_folder:
            yield from _below(path, f"{prefix}{name}/")


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
