"""Types of the fixtures of tests/compat, and what its tests share."""

from collections.abc import Callable
from typing import Any

import httpx
import pexpect

from flotilla_testing.waiting import eventually

__all__ = ["DEADLINE_S", "Inspect", "Start", "Terminal", "created", "eventually"]

Start = Callable[..., str]
Inspect = Callable[[str], dict[str, Any]]
Terminal = Callable[..., "pexpect.spawn[str]"]

DEADLINE_S = 30.0


def created(api: httpx.Client, body: dict[str, Any], name: str = "") -> str:
    """Create a container of busybox by the raw API and return its id."""
    parameters = {"name": name} if name else {}
    answer = api.post("/containers/create", json={"Image": "busybox", **body}, params=parameters)
    assert answer.status_code == 201, answer.text
    identifier: str = answer.json()["Id"]
    return identifier
