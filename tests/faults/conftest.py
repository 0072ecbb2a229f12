"""A fleet of two hosts for the tests here: its parts are killed and its hosts cut off."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flotilla_testing.fixtures import load_images
from flotilla_testing.stacks import Stack, running_stack


@pytest.fixture(scope="session")
def fleet(image_folder: Path) -> Iterator[Stack]:
    with running_stack(hosts=2) as running:
        load_images(running.engine, image_folder)
        yield running


@pytest.fixture(autouse=True)
def repaired(fleet: Stack) -> Iterator[None]:
    """Bring up what a test left down, and remove its containers."""
    yield
    for host in fleet.hosts:
        fleet.heal(host)
    fleet.up()
    remaining = fleet.engine.docker("ps", "-aq").checked().lines
    if remaining:
        fleet.engine.docker("rm", "-f", *remaining)
