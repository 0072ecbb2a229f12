"""Counts what a stack holds of the kernel, so that a test can say that nothing was left behind."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from flotilla_testing.stacks import Stack

# They come and go with the stack's services, not with containers.
_OF_THE_STACK = ("flotilla_cli", "flotilla_runtime_agent.network.daemon")


@dataclass(frozen=True)
class Census:
    """Everything countable that belongs to a stack, as names."""

    mounts: frozenset[str]
    links: frozenset[str]
    nft_elements: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[str]

    def extra(self, before: "Census") -> dict[str, list[str]]:
        """Return what is there now and was not before, by kind."""
        found = {
            field.name: sorted(getattr(self, field.name) - getattr(before, field.name))
            for field in fields(self)
        }
        return {kind: names for kind, names in found.items() if names}


def taken(stack: Stack) -> Census:
    """Count now."""
    return Census(_mounts(stack), _links(stack), _nft(stack), _cgroups(stack), _processes(stack))


def settled(stack: Stack, before: Census, timeout_s: float = 30) -> dict[str, list[str]]:
    """Wait until nothing is there that was not before; return what still is at the end."""
    deadline = time.monotonic() + timeout_s
    while True:
        extra = taken(stack).extra(before)
        if not extra or time.monotonic() > deadline:
            return extra
        time.sleep(0.1)


def _mounts(stack: Stack) -> frozenset[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    ours = (str(stack.data_dir), str(stack.run_dir))
    return frozenset(point for point in points if point.startswith(ours))


def _in_hosts(stack: Stack, *command: str) -> dict[str, str]:
    outputs = {}
    for host in stack.hosts:
        namespace = f"--net=/run/netns/flt-{stack.name}-{host}"
        done = subprocess.run(
            ["nsenter", namespace, "--", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        outputs[host] = done.stdout
    return outputs


def _links(stack: Stack) -> frozenset[str]:
    found = set()
    for host, output in _in_hosts(stack, "ip", "-j", "link").items():
        found |= {f"{host}: {link['ifname']}" for link in json.loads(output or "[]")}
    return frozenset(found)


def _nft(stack: Stack) -> frozenset[str]:
    found = set()
    for host, output in _in_hosts(stack, "nft", "list", "ruleset").items():
        found |= {f"{host}: {line.strip()}" for line in output.splitlines() if line.strip()}
    return frozenset(found)


def _cgroups(stack: Stack) -> frozenset[str]:
    roots = Path("/sys/fs/cgroup")
    pattern = f"flotilla/{stack.name}/**/"
    found = {str(path) for path in roots.glob(pattern)}
    return frozenset(found | {str(path) for path in roots.glob(f"*/{pattern}")})


def _processes(stack: Stack) -> frozenset[str]:
    """Monitors and runtimes by their command line, and zombies of ours."""
    marks = (f"{stack.data_dir}/", f"{stack.run_dir}/")
    return frozenset(_process_lines(lambda words: any(mark in words for mark in marks)))


def _process_lines(is_ours: Callable[[str], bool]) -> set[str]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if is_ours(words) and not any(one in words for one in _OF_THE_STACK):
            found.add(f"{folder.name}: {words[:120]}")
    return found
