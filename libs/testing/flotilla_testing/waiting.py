"""Waits for a condition with a generous deadline, where there is no event to wait on."""

import time
from collections.abc import Callable

_POLL_S = 0.05


def eventually(condition: Callable[[], object], timeout_s: float = 30, what: str = "") -> None:
    """Wait until the condition holds; one that raises an `AssertionError` does not hold yet.

    Raises:
        AssertionError: If it does not hold in time; the condition's own, if it raises one.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, what or f"not so within {timeout_s:g} s"
        time.sleep(_POLL_S)
