"""Fixtures of the compatibility tests, which pass with dockerd 26 too (`FLOTILLA_TEST_ENGINE`)."""

import json
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from flotilla_testing.clients import DEADLINE_S, Inspect, Start, Terminal
from flotilla_testing.engines import Engine


@pytest.fixture
def start(engine: Engine) -> Start:
    """Runs a container in the background, `sleep 1000` by default, and returns its id."""

    def run(*options: str, command: tuple[str, ...] = ("sleep", "1000")) -> str:
        return engine.docker("run", "-d", *options, "busybox", *command).checked().out

    return run


@pytest.fixture
def inspect(engine: Engine) -> Inspect:
    """Inspects a container."""

    def of(container: str) -> dict[str, Any]:
        documents = json.loads(engine.docker("inspect", container).checked().stdout)
        found: dict[str, Any] = documents[0]
        return found

    return of


@pytest.fixture
def terminal(engine: Engine) -> Iterator[Terminal]:
    """Runs the docker CLI in a terminal of 24 by 80."""
    opened: list[pexpect.spawn[str]] = []

    def spawn(*arguments: str) -> "pexpect.spawn[str]":
        child: pexpect.spawn[str] = pexpect.spawn(
            "docker",
            list(arguments),
            env=engine.environment,
            encoding="utf-8",
            timeout=DEADLINE_S,
            dimensions=(24, 80),
        )
        opened.append(child)
        return child

    yield spawn
    for child in opened:
        child.close(force=True)
