"""Finds, and removes, what test stacks of ended test runs have left: `… leftovers [--remove]`.

A stack's name has the process id of its test run, so that a run under way is left in peace.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from flotilla_testing.stacks import PREFIX

_SETTLES_WITHIN_S = 30.0
_NAME = re.compile(rf"({PREFIX}-(\d+)-\d+)")


def main(arguments: list[str]) -> int:
    """Print what is left; with `--remove`, remove it. Exit code 1 if something is left."""
    if "--remove" in arguments:
        for stack in sorted(set(_stacks())):
            _write(f"removing what is left of {stack}")
            _remove(stack)
    left = sorted(set(found()))
    deadline = time.monotonic() + _SETTLES_WITHIN_S
    while left and time.monotonic() < deadline:
        time.sleep(0.5)
        left = sorted(set(found()))
    for line in left:
        _write(f"left behind: {line}")
    return 1 if left else 0


def found() -> Iterator[str]:
    """Yield what is there of ended test runs."""
    for path in (*Path("/run/netns").glob(f"flt-{PREFIX}-*"), *Path("/run/flotilla").glob("*")):
        if _ended(str(path)):
            yield str(path)
    for path in Path("/var/tmp").glob(f"{PREFIX}-*"):
        if _ended(str(path)):
            yield str(path)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if _ended(line.split()[4]):
            yield f"mount {line.split()[4]}"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if _ended(words):
            yield f"process {folder.name} {words[:100]}"
    for path in (
        *Path("/sys/fs/cgroup").glob("flotilla/*"),
        *Path("/sys/fs/cgroup").glob("*/flotilla/*"),
    ):
        if _ended(path.name):
            yield f"cgroup {path}"


def _ended(text: str) -> bool:
    match = _NAME.search(text)
    return match is not None and not Path("/proc", match.group(2)).exists()


def _stacks() -> Iterator[str]:
    for line in found():
        match = _NAME.search(line)
        if match is not None:
            yield match.group(1)


def _remove(stack: str) -> None:
    command = [
        sys.executable,
        "-m",
        "flotilla_cli",
        "down",
        "--purge",
        "--time",
        "0",
        "--name",
        stack,
    ]
    subprocess.run(command, check=False, timeout=120, stdin=subprocess.DEVNULL)
    for folder in Path("/var/tmp").glob(f"{stack}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
