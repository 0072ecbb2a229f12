"""What is in a volume: copying it, measuring it."""

import contextlib
import os
import subprocess
from pathlib import Path

from flotilla_core.errors import InternalError


def copy_content(source_fd: int, target: Path) -> None:
    """Copy all that a folder holds, with owners, times, links and extended attributes.

    Raises:
        InternalError: With cp's own words.
    """
    with os.scandir(source_fd) as entries:
        if next(entries, None) is None:
            return
    done = subprocess.run(
        ["cp", "--archive", "--reflink=auto", f"/proc/self/fd/{source_fd}/.", f"{target}/"],
        pass_fds=(source_fd,),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InternalError(f"failed to copy the image's content: {done.stderr.strip()}")


def copy_attributes(source_fd: int, target: Path) -> None:
    """Give a folder the owner and the mode of another one."""
    status = os.fstat(source_fd)
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(status.st_mode & 0o7777)


def measure(folder: Path) -> int:
    """Return the size of all files in bytes, each inode once; skips what vanishes."""
    total = 0
    seen: set[tuple[int, int]] = set()
    waiting = [str(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        total += status.st_size
    return total
