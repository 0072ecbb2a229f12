"""Types of the fixtures of tests/compat, and what its tests share."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pexpect

Start = Callable[..., str]
Inspect = Callable[[str], dict[str, Any]]
Terminal = Callable[..., "pexpect.spawn[str]"]

DEADLINE_S = 30.0


def eventually(check: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Return as soon as a check is true.

    Raises:
        AssertionError: If it is not before the deadline.
    """
    end = time.monotonic() + deadline_s
    while True:
        try:
            assert check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def created(api: httpx.Client, body: dict[str, Any], name: str = "") -> str:
    """Create a container of busybox by the raw API and return its id."""
    parameters = {"name": name} if name else {}
    answer = api.post("/containers/create", json={"Image": "busybox", **body}, params=parameters)
    assert answer.status_code == 201, answer.text
    identifier: str = answer.json()["Id"]
    return identifier
