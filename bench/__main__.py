"""`python -m bench [NAME …]`: all measurements, or those whose names contain one of the words."""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import cast

import flotilla_testing.leftovers
from bench import leftovers
from bench.contenders import Contender, dockerd, flotilla
from bench.measurements import ALL, Measurement
from flotilla_testing import images
from flotilla_testing.fixtures import load_images

_RESULTS = Path("bench/results")


def main() -> int:
    """Measure, print a table, write it to bench/results as well."""
    arguments = _arguments()
    chosen = [
        m
        for m in ALL
        if (not arguments.names and not m.only_if_named)
        or any(name in m.name for name in arguments.names)
    ]
    binary = shutil.which(arguments.dockerd)
    if binary is None:
        print(f"bench: no dockerd at {arguments.dockerd}; DOCKERD= names one", file=sys.stderr)
        return 1
    leftovers.remove()
    flotilla_testing.leftovers.main(["--remove"])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = _measured(chosen, arguments, Path(binary))
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    print(f"\nwritten to {result}")
    return 0


def _measured(chosen: list[Measurement], arguments: argparse.Namespace, binary: Path) -> Path:
    lines = [
        *_machine(binary),
        "",
        "| | flotilla | dockerd | ratio | our largest |",
        "|--|--|--|--|--|",
    ]
    print("\n".join(lines), flush=True)
    with ExitStack() as stack:
        ours = stack.enter_context(flotilla(arguments.hosts))
        theirs = stack.enter_context(dockerd(binary))
        _load(ours, theirs)
        for measurement in chosen:
            line = _row(measurement, ours, theirs, arguments.rounds)
            print(line, flush=True)
            lines.append(line)
    _RESULTS.mkdir(parents=True, exist_ok=True)
    result = _RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.md"
    result.write_text("\n".join(lines) + "\n")
    return result


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("names", nargs="*", help="parts of measurements' names")
    parser.add_argument("--hosts", type=int, default=2, help="simulated hosts of our stack")
    parser.add_argument("--rounds", type=int, help="instead of each measurement's own number")
    parser.add_argument("--dockerd", default=os.environ.get("DOCKERD") or "dockerd")
    return parser.parse_args()


def _load(*contenders: Contender) -> None:
    folder = Path("bench/results/images")
    folder.mkdir(parents=True, exist_ok=True)
    images.write_busybox(folder / "busybox.tar")
    images.write_layered(folder / "layered.tar")
    for contender in contenders:
        load_images(contender.engine, folder)


def _machine(binary: Path) -> list[str]:
    """Say on what, and with which versions, it was measured."""
    version = _output(str(binary), "--version")
    memory = next(iter(Path("/proc/meminfo").read_text().splitlines())).split()[1]
    return [
        f"{os.cpu_count()} CPUs, {int(memory) // 2**20} GiB, Linux {platform.release()}",
        f"{version}; docker CLI: {_output('docker', '--version')}",
        f"{_output('runc', '--version')}; {_output('conmon', '--version')}; "
        f"Python {platform.python_version()}",
    ]


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else command[0]


def _row(measurement: Measurement, ours: Contender, theirs: Contender, rounds: int | None) -> str:
    """Measure both by turns and return the table's row of medians."""
    numbers: dict[str, list[float]] = {ours.name: [], theirs.name: []}
    try:
        with ExitStack() as stack:
            for contender in (ours, theirs):
                prepared = cast("AbstractContextManager[None]", measurement.prepare(contender))
                stack.enter_context(prepared)
            ours.forget_peak()
            for _ in range(rounds or measurement.rounds):
                for contender in (ours, theirs):
                    numbers[contender.name].append(measurement.measure(contender))
    except (RuntimeError, AssertionError, subprocess.TimeoutExpired) as error:
        return f"| {measurement.name} | failed: {json.dumps(str(error)[:200])} | | | |"
    mine, other = (statistics.median(numbers[c.name]) for c in (ours, theirs))
    unit = measurement.unit
    return (
        f"| {measurement.name} | {mine:.3f} {unit} | {other:.3f} {unit} | {mine / other:.2f} "
        f"| {ours.peak()} |"
    )


if __name__ == "__main__":
    sys.exit(main())
