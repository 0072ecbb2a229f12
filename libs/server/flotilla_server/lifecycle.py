"""The life of a service's process: event loop, signals, exit code."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import signal
from collections.abc import Awaitable, Callable

import uvloop

from flotilla_core.errors import FlotillaError

_log = logging.getLogger(__name__)

_M_ARENA_MAX = -8  # malloc.h

Main = Callable[[asyncio.Event], Awaitable[None]]


def run(main: Main) -> int:
    """Run a service until it is done, and return the process's exit code.

    SIGTERM and SIGINT set the event that `main` gets, and `main` is expected to end; a second one
    cancels it. A `FlotillaError` or an `OSError` of `main` is logged as one line, anything else
    with its traceback.
    """
    _bound_arenas()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_until_stopped(main))
        except asyncio.CancelledError:
            return 130
        except (FlotillaError, OSError) as error:
            _log.error("%s", error)
            return 1
        except BaseExceptionGroup as group:
            return _reported(group)
        except Exception:  # noqa: BLE001 - the process ends here, and says why
            _log.exception("the service failed")
            return 1
    return 0


def _bound_arenas() -> None:
    """Have all threads share two heaps: each keeps what its busiest moment has taken."""
    with contextlib.suppress(OSError, AttributeError):  # glibc has it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


async def _until_stopped(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            task.cancel(f"second {number.name}")
        else:
            _log.info("stopping", extra={"signal": number.name})
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        await main(stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _reported(group: BaseExceptionGroup[BaseException]) -> int:
    """Log what a task group of the service ended with."""
    expected, others = group.split((FlotillaError, OSError, asyncio.CancelledError))
    if others is not None:
        _log.error("the service failed", exc_info=others)
    for error in _leaves(expected) if expected is not None else ():
        if not isinstance(error, asyncio.CancelledError):
            _log.error("%s", error)
    return 1


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
