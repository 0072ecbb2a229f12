"""An ASGI application on uvicorn's protocol, on several listeners at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from flotilla_server.http.listeners import Listener
from flotilla_server.http.protocol import EngineHttpProtocol
from flotilla_server.http.websockets import EngineWebSockets

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_log = logging.getLogger(__name__)

_IDLE_CONNECTION_S = 600
_DATE_INTERVAL_S = 0.5


class HttpServer:
    """A running server.

    Attributes:
        addresses: What it listens on, with the ports that the system chose.
    """

    def __init__(self, app: Callable[..., Any], *, graceful_s: float) -> None:
        """Prepare; `serving` starts and ends it."""
        self.addresses: list[str] = []
        self._graceful_s = graceful_s
        self._config = Config(
            cast("ASGI3Application", app),
            http=EngineHttpProtocol,
            ws=EngineWebSockets,
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE_CONNECTION_S,
        )
        self._config.load()
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    async def start(self, listeners: Sequence[Listener]) -> None:
        """Listen on every address."""
        self._set_date()
        try:
            for listener in listeners:
                server, address = await listener.opened(self._protocol)
                self._servers.append(server)
                self.addresses.append(address)
                _log.info("listening on %s", address)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening, let requests end for a while, cancel the rest."""
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=self._graceful_s)
            for connection in list(self._state.connections):
                if isinstance(connection, EngineHttpProtocol):
                    connection.drop()
            if late:
                _, late = await asyncio.wait(late, timeout=self._graceful_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=self._graceful_s)

    async def tick(self) -> None:
        """Keep the Date header right, for ever."""
        while True:
            await asyncio.sleep(_DATE_INTERVAL_S)
            self._set_date()

    def _set_date(self) -> None:
        self._state.default_headers = [(b"Date", formatdate(usegmt=True).encode())]

    def _protocol(self) -> asyncio.Protocol:
        return EngineHttpProtocol(config=self._config, server_state=self._state, app_state={})


@asynccontextmanager
async def serving(
    app: Callable[..., Any], listeners: Sequence[Listener], *, graceful_s: float = 2.0
) -> AsyncIterator[HttpServer]:
    """Serve an ASGI application while the context lasts.

    The application gets no lifespan events: whoever serves it opens its resources around this.

    Args:
        app: The application.
        listeners: Where to listen.
        graceful_s: How long requests may go on after the end.

    Raises:
        ListenError: If an address cannot be had.
    """
    server = HttpServer(app, graceful_s=graceful_s)
    await server.start(listeners)
    ticker = asyncio.create_task(server.tick())
    try:
        yield server
    finally:
        ticker.cancel()
        await server.stop()
