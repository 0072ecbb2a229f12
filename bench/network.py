"""Throughput between two containers of one host, by the host's iperf3 in their namespaces."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from bench.contenders import Contender

_NETWORK = "bench"
_PAIR = ("near", "far")
_SENT = "4G"
_TIMEOUT_S = 120


@contextmanager
def pair(contender: Contender) -> Iterator[None]:
    """Have two containers in a user network on one host."""
    _docker(contender, "network", "create", _NETWORK)
    near, far = _PAIR
    run = ("run", "-d", "--network", _NETWORK, "--name")
    _docker(contender, *run, near, "busybox", "sleep", "100000")
    beside = ("-e", f"affinity:container=={near}")  # nothing to dockerd
    _docker(contender, *run, far, *beside, "busybox", "sleep", "100000")
    yield
    _docker(contender, "rm", "-f", *_PAIR)
    _docker(contender, "network", "rm", _NETWORK)


def transfer(contender: Contender) -> float:
    """Return the seconds that 4 GiB take from one container to the other, by one TCP stream."""
    server = subprocess.Popen(
        [*_inside(contender, "far"), "iperf3", "-s", "-1", "--forceflush"],
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        while b"listening" not in server.stdout.readline():
            pass
        address = _docker(
            contender,
            *("inspect", "-f", f"{{{{.NetworkSettings.Networks.{_NETWORK}.IPAddress}}}}", "far"),
        )
        command = [*_inside(contender, "near"), "iperf3", "-c", address, "-n", _SENT, "-J"]
        said = subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT_S).stdout
        return float(json.loads(said)["end"]["sum_received"]["seconds"])
    finally:
        server.kill()
        server.communicate()


def _inside(contender: Contender, name: str) -> list[str]:
    pid = _docker(contender, "inspect", "-f", "{{.State.Pid}}", name)
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


def _docker(contender: Contender, *arguments: str) -> str:
    return contender.engine.docker(*arguments).checked().out
