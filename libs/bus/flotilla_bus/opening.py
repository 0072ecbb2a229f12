"""A stream on its way: the request for it, and the two ways in which it may begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nats.aio.msg import Msg

from flotilla_bus import headers
from flotilla_bus.questions import Question
from flotilla_bus.streams import Stream
from flotilla_core.errors import InternalError, UnavailableError

if TYPE_CHECKING:
    from flotilla_bus.bus import Bus


class Opening(Question):
    """A request for a stream, which begins with the answer, on NATS or on a direct connection."""

    def __init__(self, bus: Bus, target: str, node: str | None) -> None:
        """Claim an inbox, and offer a direct connection where there is a listener."""
        super().__init__(bus.connection, bus.mailbox, target, node)
        self._bus = bus
        self._stream: Stream | None = None
        self._is_direct = False
        self._offer = ""
        if bus.listener is not None:
            self._offer, self._direct = bus.listener.expect()

    def head(self) -> dict[str, str]:
        """Return the request's headers."""
        return {headers.DIRECT: self._offer} if self._offer else {}

    async def receive(self, message: Msg) -> None:
        """Take the answer; the stream's first frame may be right behind it."""
        link = (message.headers or {}).get(headers.STREAM, "")
        if link == headers.DIRECT_TAKEN:
            self._is_direct = True
        elif link and self._stream is None:
            self._stream = self._bus.nats_stream(self.inbox, link, self._target)
        await super().receive(message)

    async def stream(self) -> Stream:
        """Return the stream, after the answer."""
        if self._is_direct:
            self._mailbox.release(self.inbox)
            link = await self._direct
            self._stream = self._bus.direct_stream(link, self._target)
            self._forget(taken=True)
        if self._stream is None:
            raise InternalError(f"{self._target} answered without a stream")
        self._forget(taken=False)
        return self._stream

    async def abandon(self) -> None:
        """Let go of what there is already."""
        self._forget(taken=False)
        if self._stream is not None:
            await self._stream.reset(UnavailableError("the caller has given up"))
        else:
            self._mailbox.release(self.inbox)

    def _forget(self, *, taken: bool) -> None:
        listener, offer, self._offer = self._bus.listener, self._offer, ""
        if listener is None or not offer:
            return
        if taken:
            listener.taken(offer)
        else:
            listener.forget(offer)
