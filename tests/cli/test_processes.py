"""Detached processes (flotilla_cli.processes)."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flotilla_cli.failure import CommandError
from flotilla_cli.processes import Process, Readiness, eventually

READY = """
import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
s.send(b"READY=1")
s.close()
time.sleep(60)
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process("one", tmp_path / "run/one.pid", tmp_path / "logs/one.log")
    yield made
    made.kill()
    reap()


def reap() -> None:
    """Collect ended children: here the starter lives on, unlike the command."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def start(process: Process, code: str, tmp_path: Path, env: dict[str, str] | None = None) -> None:
    process.start(
        [sys.executable, "-c", code], {"PATH": os.environ["PATH"], **(env or {})}, tmp_path
    )


def test_process_runs_until_killed(process: Process, tmp_path: Path) -> None:
    assert process.pid() is None
    start(process, "import time; time.sleep(60)", tmp_path)
    pid = process.pid()
    assert pid is not None
    assert os.getsid(pid) == pid
    process.kill()
    assert process.pid() is None


def test_pid_of_another_process_is_not_ours(process: Process) -> None:
    process.pid_file.parent.mkdir()
    process.pid_file.write_text(f"{os.getpid()} 1\n")
    assert process.pid() is None
    process.signal(signal.SIGKILL)


def test_stop_kills_what_does_not_end(process: Process, tmp_path: Path) -> None:
    readiness = Readiness(tmp_path / "ready")
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{READY}"
    start(process, code, tmp_path, readiness.environment)
    readiness.wait(process, 30)
    process.stop(0.05)
    assert process.pid() is None
    assert not process.pid_file.exists()


def test_readiness_is_awaited(process: Process, tmp_path: Path) -> None:
    readiness = Readiness(tmp_path / "ready")
    start(process, READY, tmp_path, readiness.environment)
    readiness.wait(process, 30)
    assert not (tmp_path / "ready").exists()


def test_ended_process_is_an_error_with_its_last_words(process: Process, tmp_path: Path) -> None:
    readiness = Readiness(tmp_path / "ready")
    start(process, "raise SystemExit('no bus')", tmp_path, readiness.environment)
    with pytest.raises(CommandError, match="one ended: no bus"):
        readiness.wait(process, 30)


def test_unready_process_is_an_error_in_time(process: Process, tmp_path: Path) -> None:
    readiness = Readiness(tmp_path / "ready")
    start(process, "import time; time.sleep(60)", tmp_path, readiness.environment)
    with pytest.raises(CommandError, match=r"not ready after 0\.2 s"):
        readiness.wait(process, 0.2)


def test_eventually_gives_up() -> None:
    assert eventually(lambda: True, 0)
    assert not eventually(lambda: False, 0.01)
