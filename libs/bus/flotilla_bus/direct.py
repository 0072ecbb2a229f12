"""Direct TCP connections of streams: where openers listen, and how the serving end dials."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator

from flotilla_bus.frames import Frame, FrameKind
from flotilla_bus.links import DirectLink

log = logging.getLogger(__name__)

DIAL_WITHIN_S = 1.0
_AVOID_S = 30.0
_HELLO_WITHIN_S = 5.0


class DirectListener:
    """Takes direct connections whose one-time token is awaited, and no others."""

    def __init__(self) -> None:
        """Await nobody yet."""
        self._awaited: dict[bytes, asyncio.Future[DirectLink]] = {}
        self._address = ("", 0)

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int, advertise: str = "") -> AsyncIterator[None]:
        """Listen for the length of the block; ``advertise`` is the host that others dial."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._protocol(loop), host, port)
        try:
            bound = server.sockets[0].getsockname()
            self._address = (advertise or bound[0], bound[1])
            yield
        finally:
            server.close()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that others dial."""
        return self._address

    def expect(self) -> tuple[str, asyncio.Future[DirectLink]]:
        """Return what to tell the other end, and the connection that it will make."""
        token = secrets.token_urlsafe(24)
        future: asyncio.Future[DirectLink] = asyncio.get_running_loop().create_future()
        self._awaited[token.encode()] = future
        host, port = self._address
        return f"{host} {port} {token}", future

    def forget(self, offer: str) -> None:
        """Take the offer back; a connection that nobody took is closed."""
        future = self._awaited.pop(offer.rpartition(" ")[2].encode(), None)
        if future is not None and not future.cancel():
            future.result().close()

    def taken(self, offer: str) -> None:
        """Note that the connection has been taken: its token is worth nothing now."""
        self._awaited.pop(offer.rpartition(" ")[2].encode(), None)

    def _protocol(self, loop: asyncio.AbstractEventLoop) -> DirectLink:
        link = DirectLink(self._on_hello)
        loop.call_later(_HELLO_WITHIN_S, self._close_silent, link)
        return link

    @staticmethod
    def _close_silent(link: DirectLink) -> None:
        if not link.welcomed.done():
            link.close()

    def _on_hello(self, link: DirectLink, token: bytes) -> None:
        future = self._awaited.get(token)
        if future is None or future.done():
            link.close()
            return
        link.welcomed.set_result(None)
        link.post(Frame(FrameKind.WELCOME))
        future.set_result(link)


class Dialler:
    """Dials openers, and avoids for a while those that let it wait."""

    def __init__(self) -> None:
        """Avoid nobody yet."""
        self._avoid_until: dict[tuple[str, int], float] = {}

    async def dial(self, offer: str) -> DirectLink | None:
        """Return a connection to whoever made the offer, or None when there is no way."""
        loop = asyncio.get_running_loop()
        host, _, rest = offer.partition(" ")
        port, _, token = rest.partition(" ")
        address = (host, int(port))
        if self._avoid_until.get(address, 0.0) > loop.time():
            return None
        link: DirectLink | None = None
        try:
            async with asyncio.timeout(DIAL_WITHIN_S):
                _, link = await loop.create_connection(DirectLink, *address)
                link.post(Frame(FrameKind.HELLO, payload=token.encode()))
                await link.welcomed
        except BaseException as error:
            if link is not None:
                link.close()
            if not isinstance(error, OSError):
                raise
            log.info("no direct connection to %s:%d: %s", *address, error or "no answer in time")
            if isinstance(error, TimeoutError):
                self._avoid_until[address] = loop.time() + _AVOID_S
            return None
        self._avoid_until.pop(address, None)
        return link
