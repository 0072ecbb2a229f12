"""Work for a fleet under test: threads that run the docker CLI until they are told to stop."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flotilla_testing.engines import Engine, Result

Work = Callable[[Engine, int], list[Result]]


@dataclass
class Load:
    """What came of the work so far."""

    results: list[Result] = field(default_factory=list)
    broken: list[BaseException] = field(default_factory=list)

    @property
    def succeeded(self) -> int:
        """How many commands succeeded."""
        return sum(result.code == 0 for result in self.results)

    def has_done(self, count: int) -> bool:
        """Return whether that many commands have succeeded, or something is broken."""
        return self.succeeded >= count or bool(self.broken)


def run_and_remove(engine: Engine, number: int) -> list[Result]:
    """Run a container to its end, on either host by turns."""
    host = f"flotilla.node=host{number % 2 + 1}"
    return [engine.docker("run", "--rm", "--label", host, "busybox", "echo", "done")]


def start_exec_remove(engine: Engine, number: int) -> list[Result]:
    """Start a container, enter it, and remove it by force."""
    host = f"flotilla.node=host{number % 2 + 1}"
    name = f"load-{number}"
    return [
        engine.docker("run", "-d", "--name", name, "--label", host, "busybox", "sleep", "1000"),
        engine.docker("exec", name, "true"),
        engine.docker("rm", "-f", name),
    ]


@contextmanager
def under_load(engine: Engine, *works: Work) -> Iterator[Load]:
    """Do the works again and again, each in a thread of its own, for the length of the block.

    A command that does not end in time is an exception in `broken`.
    """
    load = Load()
    stop = threading.Event()

    def work_on(work: Work, first: int) -> None:
        number = first
        while not stop.is_set():
            try:
                load.results.extend(work(engine, number))
            except Exception as error:  # noqa: BLE001  # the test asserts that there are none
                load.broken.append(error)
                return
            number += len(works)

    threads = [
        threading.Thread(target=work_on, args=(work, first), daemon=True)
        for first, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()
