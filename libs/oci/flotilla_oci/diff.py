"""Makes a layer archive from an overlay's upper folder: its deletions become whiteouts.

python -m flotilla_oci.diff FOLDER > layer.tar
"""

import contextlib
import os
import stat
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from flotilla_oci.unpack import OPAQUE, OPAQUE_XATTR, WHITEOUT

_SKIPPED_XATTRS = ("trusted.overlay.", "user.overlay.", "system.", "security.selinux")
_PAX_XATTR = "SCHILY.xattr."


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether an upper folder's entry says that the lower one is deleted."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(folder: str | Path) -> bool:
    """Tell whether an upper folder hides everything below it."""
    try:
        return os.getxattr(folder, OPAQUE_XATTR, follow_symlinks=False) == b"y"
    except OSError:
        return False


def write_layer(upper: Path, output: IO[bytes]) -> None:
    """Write the folder's changes as a layer, names in order, so that equal content is equal."""
    links: dict[tuple[int, int], str] = {}
    with tarfile.open(
        fileobj=output, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20
    ) as archive:
        for path, name in _walk(upper, ""):
            status = path.lstat()
            if is_whiteout(status):
                folder, slash, base = name.rpartition("/")
                archive.addfile(_bare(f"{folder}{slash}{WHITEOUT}{base}", status))
                continue
            if stat.S_ISSOCK(status.st_mode):
                continue
            info = _member(path, name, status, links)
            if info.isreg():
                with path.open("rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)
            if info.isdir() and is_opaque(path):
                archive.addfile(_bare(f"{name}/{OPAQUE}", status))


def _walk(folder: Path, prefix: str) -> Iterator[tuple[Path, str]]:
    for name in sorted(entry.name for entry in os.scandir(folder)):
        path = folder / name
        yield path, prefix + name
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, f"{prefix}{name}/")


def _bare(name: str, status: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = 0
    info.mtime = int(status.st_mtime)
    return info


def _member(
    path: Path, name: str, status: os.stat_result, links: dict[tuple[int, int], str]
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid = status.st_uid, status.st_gid
    info.mtime = int(status.st_mtime)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        info.type = tarfile.DIRTYPE
    elif kind == stat.S_IFLNK:
        info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
    elif kind == stat.S_IFREG:
        first = links.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            info.type, info.linkname = tarfile.LNKTYPE, first
        else:
            info.size = status.st_size
    else:
        info.type = {
            stat.S_IFCHR: tarfile.CHRTYPE,
            stat.S_IFBLK: tarfile.BLKTYPE,
            stat.S_IFIFO: tarfile.FIFOTYPE,
        }[kind]
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if not info.islnk():
        info.pax_headers = _xattrs(path)
    return info


def _xattrs(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for name in sorted(os.listxattr(path, follow_symlinks=False)):
            if not name.startswith(_SKIPPED_XATTRS):
                value = os.getxattr(path, name, follow_symlinks=False)
                found[_PAX_XATTR + name] = value.decode("utf-8", "surrogateescape")
    return found


if __name__ == "__main__":
    write_layer(Path(sys.argv[1]), sys.stdout.buffer)
