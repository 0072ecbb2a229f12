"""Twin of ``stats/samples.py``, ``stats/cgroups.py`` and ``stats/top.py``."""

import asyncio
import json
import os

import pytest

from flotilla_core.errors import InternalError, InvalidArgumentError
from flotilla_runtime_agent.stats.samples import Measured, interfaces, send_stats
from flotilla_runtime_agent.stats.top import parsed, processes

NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
  eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0
"""


class Lines:
    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes) -> None:
        self.data += data


async def test_sample_of_a_running_container_has_what_the_client_computes_from() -> None:
    lines = Lines()
    container = Measured("c" * 64, "web", "/", os.getpid())
    await send_stats(lambda: container, lines, follow=False, one_shot=True)
    sample = json.loads(lines.data)
    assert sample["name"] == "/web"
    assert sample["cpu_stats"]["system_cpu_usage"] > 0
    assert sample["cpu_stats"]["online_cpus"] == os.cpu_count()
    assert sample["memory_stats"]["limit"] > 0
    assert sample["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert {"pids_stats", "blkio_stats", "storage_stats", "num_procs"} <= set(sample)


async def test_single_sample_is_compared_with_one_before() -> None:
    lines = Lines()
    container = Measured("c" * 64, "web", "/", os.getpid())
    await send_stats(lambda: container, lines, follow=False, one_shot=False)
    (line,) = lines.data.splitlines()
    sample = json.loads(line)
    assert sample["precpu_stats"]["system_cpu_usage"] > 0
    assert sample["preread"] < sample["read"]


async def test_stopped_container_has_zeroes_and_a_removed_one_ends_the_stream() -> None:
    lines = Lines()
    states = iter([Measured("c" * 64, "web", "/", None), None])
    await send_stats(lambda: next(states), lines, follow=True, one_shot=False)
    (line,) = lines.data.splitlines()
    assert json.loads(line)["memory_stats"] == {}


def test_interfaces_are_counted_without_the_loopback() -> None:
    assert interfaces(NET_DEV) == {
        "eth0": {
            "rx_bytes": 100,
            "rx_packets": 2,
            "rx_errors": 3,
            "rx_dropped": 4,
            "tx_bytes": 500,
            "tx_packets": 6,
            "tx_errors": 7,
            "tx_dropped": 8,
        }
    }


async def test_top_shows_only_the_processes_asked_for() -> None:
    table = await processes([os.getpid()], "")
    assert table.titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert [row[1] for row in table.processes] == [str(os.getpid())]
    chosen = await processes([os.getpid()], "-o pid,comm")
    assert chosen.titles == ["PID", "COMMAND"]


async def test_default_table_is_what_ps_shows() -> None:
    sleeping = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        ours = await processes([sleeping.pid], "")
        theirs = await processes([sleeping.pid], "-f -e")
    finally:
        sleeping.kill()
        await sleeping.wait()
    assert ours.titles == theirs.titles
    # Its share of a CPU changes from moment to moment, its start is rounded.
    assert [row[:3] + row[5:] for row in ours.processes] == [
        row[:3] + row[5:] for row in theirs.processes
    ]


async def test_top_refuses_a_column_that_poses_as_pid() -> None:
    with pytest.raises(InvalidArgumentError, match='specifying "comm=PID" is not allowed'):
        await processes([os.getpid()], "-o comm=PID")
    with pytest.raises(InternalError, match="Couldn't find PID field in ps output"):
        await processes([os.getpid()], "-o comm")


def test_last_column_keeps_its_blanks() -> None:
    table = parsed("PID CMD\n 7 sleep 10 20\n 8 other\n", {7})
    assert table.processes == [["7", "sleep 10 20"]]
