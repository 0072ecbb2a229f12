"""The layer between image and container that holds what bind mounts need as targets.

dockerd makes the same one (daemon/initlayer), so that `docker diff` does not show these files.
"""

import contextlib
import os
import stat
from pathlib import Path

_FOLDER, _FILE = "dir", "file"
_ENTRIES = {
    "dev/pts": _FOLDER,
    "dev/shm": _FOLDER,
    "proc": _FOLDER,
    "sys": _FOLDER,
    ".dockerenv": _FILE,
    "etc/resolv.conf": _FILE,
    "etc/hosts": _FILE,
    "etc/hostname": _FILE,
    "dev/console": _FILE,
    "etc/mtab": "/proc/mounts",
}
_MAX_LINKS = 40


def fill(root: Path) -> None:
    """Make in a mounted image what it lacks of the targets; never outside of `root`."""
    for name, kind in _ENTRIES.items():
        # An image whose own /etc or /dev is no folder gets no such target: runc will say so.
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            _make(root, name, kind)


def _make(root: Path, name: str, kind: str) -> None:
    folder, _, base = name.rpartition("/")
    parent = _inside(root, folder)
    parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    target = parent / base
    if os.path.lexists(target):
        return
    match kind:
        case "dir":
            target.mkdir(mode=0o755)
        case "file":
            target.touch(mode=0o755)
        case link:
            target.symlink_to(link)


def _inside(root: Path, name: str) -> Path:
    """Resolve a folder's name as if `root` were the root of the file system."""
    done: list[str] = []
    todo = name.split("/")[::-1]
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        path = root.joinpath(*done, part)
        if path.is_symlink() and stat.S_ISLNK(path.lstat().st_mode):
            links += 1
            if links > _MAX_LINKS:
                raise NotADirectoryError(name)
            target = str(path.readlink())
            if target.startswith("/"):
                done = []
            todo.extend(target.split("/")[::-1])
            continue
        done.append(part)
    return root.joinpath(*done)
