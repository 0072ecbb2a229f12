"""How the serving end of a stream accepts it: the answer, then the stream, direct if possible."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import nats.errors
from nats.aio.msg import Msg
from pydantic import BaseModel

from flotilla_bus import headers
from flotilla_bus.bus import Bus
from flotilla_bus.methods import A, dumped
from flotilla_bus.outcomes import Outcome
from flotilla_bus.streams import Stream
from flotilla_core.errors import FlotillaError, InternalError

log = logging.getLogger(__name__)

_ENDS_ITSELF_WITHIN_S = 2.0
_ANSWERS_WITHIN_S = 60.0
_PEER = "the caller"

A_contra = TypeVar("A_contra", bound=BaseModel, contravariant=True)


class Accept(Protocol[A_contra]):
    """Sends a stream method's answer and returns the stream."""

    async def __call__(self, answer: A_contra) -> Stream:
        """Accept; called once by the handler."""
        ...


async def reply(bus: Bus, message: Msg, outcome: Outcome) -> None:
    """Answer a message, as soon as NATS is there; nobody waits for an answer for ever."""
    try:
        if not bus.is_connected:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                await bus.wait_connected()
        await bus.connection.publish(message.reply, outcome.payload, headers=outcome.headers)
    except nats.errors.MaxPayloadError:
        size = len(outcome.payload)
        log.warning("an answer is too large: %d bytes", size)
        too_large = Outcome.of_error(InternalError(f"the answer is too large: {size} bytes"))
        with contextlib.suppress(nats.errors.Error):
            await bus.connection.publish(message.reply, b"", headers=too_large.headers)
    except (nats.errors.Error, TimeoutError) as error:
        log.info("an answer could not be sent: %s", error or "NATS is away")


class Acceptance(Generic[A]):
    """One conversation: before it is accepted, while it lasts, and its end."""

    def __init__(self, bus: Bus, message: Msg) -> None:
        """Take the request of a stream; must be made in the task that handles it."""
        self._bus = bus
        self._message = message
        self._outcome: Outcome | None = None
        self._stream: Stream | None = None
        self._task = asyncio.current_task()
        self._impatience: asyncio.TimerHandle | None = None

    async def __call__(self, answer: A) -> Stream:
        """Send the answer and return the stream."""
        bus = self._bus
        payload = dumped(answer)
        offer = (self._message.headers or {}).get(headers.DIRECT, "")
        link = await bus.dialler.dial(offer) if offer else None
        if link is not None:
            self._stream = bus.direct_stream(link, _PEER)
            head = {headers.STREAM: headers.DIRECT_TAKEN}
        else:
            inbox = bus.mailbox.claim(_ignore)
            self._stream = bus.nats_stream(inbox, self._message.reply, _PEER)
            head = {headers.STREAM: inbox}
        self._stream.on_gone = self._on_gone
        self._outcome = Outcome(payload, head)
        await self.answer_again()
        return self._stream

    async def answer_again(self) -> None:
        """Send the answer, if there is one yet."""
        if self._outcome is not None:
            await reply(self._bus, self._message, self._outcome)

    async def finish(self) -> None:
        """End the stream well, after its handler has returned."""
        if self._stream is None:
            raise InternalError("the request was not accepted")
        await self._stream.write_eof()
        await self._stream.aclose()

    async def fail(self, error: FlotillaError) -> None:
        """End the stream with an error, or answer with it when there is no stream yet."""
        if self._stream is not None:
            await self._stream.reset(error)
        else:
            await reply(self._bus, self._message, Outcome.of_error(error))

    def stop_watching(self) -> None:
        """Let the handler's task alone: it has ended."""
        self._task = None
        if self._impatience is not None:
            self._impatience.cancel()

    def _on_gone(self) -> None:
        """Give the handler a moment to notice by itself that the other end has gone."""
        if self._task is not None:
            loop = asyncio.get_running_loop()
            self._impatience = loop.call_later(_ENDS_ITSELF_WITHIN_S, self._task.cancel)


AnyAcceptance: TypeAlias = Acceptance[Any]


async def _ignore(_: Msg) -> None:
    """Receive nothing: the inbox is given to the stream at once."""
