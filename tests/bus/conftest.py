"""Fixtures of the bus's tests: a real nats-server, and buses connected to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flotilla_bus import Bus, connected
from flotilla_testing.nats import NatsServer, nats_server


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def caller(nats: NatsServer) -> AsyncIterator[Bus]:
    async with connected(nats.url, name="caller", patience_s=30) as bus:
        yield bus


@pytest.fixture
async def server(nats: NatsServer) -> AsyncIterator[Bus]:
    async with connected(nats.url, name="server", patience_s=30) as bus:
        yield bus
