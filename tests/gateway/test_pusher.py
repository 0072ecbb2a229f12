"""Twin of flotilla_gateway.domain.pusher."""

import asyncio
from typing import Any, cast

from flotilla_core.errors import UnavailableError
from flotilla_gateway.catalogue.networks import Networks
from flotilla_gateway.domain.calls import NodeCalls
from flotilla_gateway.domain.nodes import Nodes
from flotilla_gateway.domain.pusher import NetworkPusher


class LostTables:
    """Networks and nodes whose database has gone for a while."""

    def __init__(self) -> None:
        self.looks = 0
        self.looked_twice = asyncio.Event()

    async def behind(self) -> list[tuple[str, str]]:
        self.looks += 1
        if self.looks > 1:
            self.looked_twice.set()
        raise UnavailableError("database cannot be reached")


async def test_it_outlives_the_database() -> None:
    tables: Any = LostTables()
    pusher = NetworkPusher(cast("NodeCalls", None), cast("Networks", tables), cast("Nodes", tables))
    running = asyncio.create_task(pusher.run())
    try:
        async with asyncio.timeout(30):
            while not tables.looked_twice.is_set():
                assert not running.done()
                pusher.look()
                await asyncio.sleep(0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
