"""Nothing is left behind by containers that came and went, in a row and at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flotilla_testing import census
from flotilla_testing.engines import Engine, Result
from flotilla_testing.stacks import Stack
from flotilla_testing.waiting import eventually

RUN = ("run", "--rm", "busybox", "echo", "gone")
IN_A_ROW = 20
AT_ONCE = 10
SOAK_IN_A_ROW = 500
SOAK_AT_ONCE = 50
SPARE_FILES = 30  # a pool fills under load: eight connections to SQLite, three files each
SPARE_MIB = 24


class Services:
    """The stack's processes, with what each holds."""

    def __init__(self, stack: Stack) -> None:
        """Find them by their pid files."""
        self.pids = {
            path.stem: int(path.read_text().split()[0]) for path in stack.run_dir.glob("*.pid")
        }

    def open_files(self) -> dict[str, int]:
        """Return how many files each has open."""
        return {name: len([*Path(f"/proc/{pid}/fd").iterdir()]) for name, pid in self.pids.items()}

    def memory_mib(self) -> dict[str, float]:
        """Return each one's resident memory."""
        return {
            name: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20
            for name, pid in self.pids.items()
        }

    def zombies(self) -> list[str]:
        """Return ended processes that a service has not waited for."""
        stats = [_stat(folder) for folder in Path("/proc").glob("[0-9]*")]
        ours = {str(pid) for pid in self.pids.values()}
        return [stat for stat in stats if stat.split()[:1] == ["Z"] and stat.split()[1] in ours]


def _stat(folder: Path) -> str:
    """Return a process's state, parent and so on."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2]
    except OSError:
        return ""


def grown(before: dict[str, float], after: dict[str, float], by: float) -> dict[str, str]:
    """Return what grew by more than that."""
    return {
        name: f"{before[name]:.0f} -> {size:.0f}"
        for name, size in after.items()
        if size > before[name] + by
    }


@pytest.fixture
def nothing_left(stack: Stack, engine: Engine) -> Iterator[Services]:
    """Compare what the stack holds before and after."""
    for host in stack.hosts:  # what is made once is made
        engine.docker("run", "--label", f"flotilla.node={host}", *RUN[1:]).checked()
    services = Services(stack)
    before = census.taken(stack)
    files = {name: float(count) for name, count in services.open_files().items()}
    yield services
    assert census.settled(stack, before) == {}
    eventually(lambda: not services.zombies(), what="zombies are left")

    def surplus() -> dict[str, str]:
        now = {name: float(count) for name, count in services.open_files().items()}
        return grown(files, now, SPARE_FILES)

    eventually(lambda: not surplus(), what=f"open files: {surplus()}")


def check(result: Result) -> None:
    """Say that the container ran to its end."""
    assert (result.code, result.out) == (0, "gone"), result.stderr


def test_nothing_is_left_after_many_in_a_row(nothing_left: Services, engine: Engine) -> None:
    for _ in range(IN_A_ROW):
        check(engine.docker(*RUN))


def test_nothing_is_left_after_many_at_once(nothing_left: Services, engine: Engine) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for result in pool.map(lambda _: engine.docker(*RUN), range(AT_ONCE)):
            check(result)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nothing_is_left_after_five_hundred(nothing_left: Services, engine: Engine) -> None:
    before = nothing_left.memory_mib()
    for _ in range(SOAK_IN_A_ROW):
        check(engine.docker(*RUN))
    with ThreadPoolExecutor(SOAK_AT_ONCE) as pool:
        for result in pool.map(lambda _: engine.docker(*RUN), range(SOAK_AT_ONCE)):
            check(result)
    assert grown(before, nothing_left.memory_mib(), SPARE_MIB) == {}
