"""Removes what a dockerd of the bench has left, also before the next run if one was cut short."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

FOLDERS = Path("/var/tmp")
PREFIX = "flt-bench"
_NAME = re.compile(rf"({PREFIX}-(\d+))\b")
_ENDS_WITHIN_S = 10.0


def remove() -> None:
    """Remove what is left of runs that have ended."""
    places = (*FOLDERS.glob(f"{PREFIX}-*"), *Path("/run/netns").glob(f"{PREFIX}-*"))
    names = {match for place in places if (match := _NAME.match(place.name))}
    for match in names:
        if not Path("/proc", match.group(2)).exists():
            clear(match.group(1))


def clear(name: str) -> None:
    """End every process of a run's dockerd and of its containers, and remove its files."""
    for folder in FOLDERS.glob(f"{name}-*"):
        containers = [path.name for path in (folder / "data" / "containers").glob("*")]
        deadline = time.monotonic() + _ENDS_WITHIN_S
        while (pids := list(_processes(str(folder), containers))) and time.monotonic() < deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        _unmount_below(folder)
        for container in containers:
            for cgroup in Path("/sys/fs/cgroup").glob(f"**/docker/{container}"):
                with suppress(OSError):
                    cgroup.rmdir()
        shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _processes(folder: str, containers: list[str]) -> Iterator[int]:
    """Yield dockerd, containerd and shims, by the folder, and what runs in the containers."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            cgroups = (process / "cgroup").read_text()
        except OSError:
            continue
        if folder in words or any(container in cgroups for container in containers):
            yield int(process.name)


def _unmount_below(folder: Path) -> None:
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4]
        if point.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", point], check=False)
