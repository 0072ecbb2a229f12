"""The little of JetStream's API that events need: a stream, acknowledgements, and a reader."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from flotilla_bus import headers
from flotilla_bus.bus import Bus
from flotilla_bus.connection import Listener
from flotilla_core.errors import FlotillaError, InternalError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)

_API = "$JS.API"
_BATCH = 256
_WAITS_S = 20
_RETRY_S = 0.25
_SECOND_NS = 1_000_000_000
_ACK_TOKENS = 9
_NO_ROOM = (10023, 10028, 10047)  # resources, memory or storage beyond the server's or account's


class NoRoomError(InternalError):
    """JetStream has not the room that a stream asks for; half of it may be there."""


def answer_of(message: Msg) -> dict[str, Any]:
    """Return what JetStream answered.

    Raises:
        UnavailableError: JetStream, or the stream, is not there.
        NotFoundError: What was asked for does not exist.
        NoRoomError: There is less room on disk.
        InternalError: Any other error.
    """
    if message.headers and message.headers.get(headers.STATUS) == headers.NO_RESPONDERS:
        raise UnavailableError("the event store is not reachable")
    answer: dict[str, Any] = json.loads(message.data)
    error = answer.get("error")
    if error is None:
        return answer
    text = f"the event store: {error.get('description', error)}"
    if error.get("err_code") in _NO_ROOM:
        raise NoRoomError(text)
    match error.get("code"):
        case 404:
            raise NotFoundError(text)
        case 503:
            raise UnavailableError(text)
        case _:
            raise InternalError(text)


async def ask(
    bus: Bus, what: str, body: dict[str, object] | None = None, *, timeout_s: float = 10
) -> dict[str, Any]:
    """Return JetStream's answer to an API request.

    Raises:
        FlotillaError: As of ``answer_of``; or no answer in time.
    """
    payload = json.dumps(body).encode() if body is not None else b""
    with bus.asking("the event store") as question:
        return answer_of(await question.ask(f"{_API}.{what}", payload, {}, timeout_s))


async def ensure_stream(
    bus: Bus, stream: str, config: dict[str, object], *, timeout_s: float
) -> None:
    """Make the stream, or bring an older one up to the configuration."""
    try:
        await ask(bus, f"STREAM.CREATE.{stream}", config, timeout_s=timeout_s)
    except NoRoomError:
        raise
    except InternalError:
        await ask(bus, f"STREAM.UPDATE.{stream}", config, timeout_s=timeout_s)


async def opened_reader(bus: Bus, stream: str, *, since_ns: int | None) -> Reader:
    """Return a reader of a stream from a time on, or of what is stored from now on.

    Raises:
        FlotillaError: If JetStream does not answer.
    """
    info = await ask(bus, f"STREAM.INFO.{stream}")
    reader = Reader(bus, stream, info, since_ns)
    try:
        await reader.consume()
    except BaseException:
        await reader.aclose()
        raise
    return reader


class Reader:
    """Reads a stream in order, without gap or double, over any loss of the connection.

    It pulls in batches by a consumer that JetStream forgets by itself, and makes a new one behind
    the last message whenever something is missing.
    """

    def __init__(self, bus: Bus, stream: str, info: dict[str, Any], since_ns: int | None) -> None:
        """Begin at a time, or behind the last message that is stored now."""
        last_stored = int(info["state"]["last_seq"])
        self._created = info["created"]
        self._bus = bus
        self._stream = stream
        self._last_stored = last_stored
        self._since_ns = since_ns
        self._last_read = last_stored if since_ns is None else 0
        self._consumer = ""
        self._delivered = 0
        self._is_drained = False
        self._queue: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._listener: Listener | None = None
        bus.connection.revivals.append(self._on_revival)

    async def aclose(self) -> None:
        """Let go of the consumer; harmless when done before."""
        await self._unlisten()
        with contextlib.suppress(ValueError):
            self._bus.connection.revivals.remove(self._on_revival)
        if self._consumer and self._bus.is_connected:
            with contextlib.suppress(nats.errors.Error):
                subject = f"{_API}.CONSUMER.DELETE.{self._stream}.{self._consumer}"
                await self._bus.connection.publish(subject, b"")
        self._consumer = ""

    async def consume(self) -> None:
        """Make a consumer that begins behind what was read."""
        info = await ask(self._bus, f"STREAM.INFO.{self._stream}")
        if info["created"] != self._created:
            log.warning("the stream %s has begun anew", self._stream)
            self._created = info["created"]
            self._last_read = self._last_stored = 0
        config: dict[str, object] = {
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 60 * _SECOND_NS,
        }
        if self._last_read == 0 and self._since_ns is not None:
            since = datetime.fromtimestamp(max(0, self._since_ns) / 1e9, UTC)
            config |= {
                "deliver_policy": "by_start_time",
                "opt_start_time": since.isoformat().replace("+00:00", "Z"),
            }
        else:
            config |= {
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": self._last_read + 1,
            }
        answer = await ask(
            self._bus,
            f"CONSUMER.CREATE.{self._stream}",
            {"stream_name": self._stream, "config": config},
        )
        self._consumer = str(answer["name"])
        self._delivered = 0
        self._is_drained = int(answer["num_pending"]) == 0
        await self._unlisten()
        queue = self._queue = asyncio.Queue()

        async def on_message(message: Msg) -> None:
            queue.put_nowait(message)

        # Messages come under their own subjects, so the common mailbox cannot tell them apart.
        connection = self._bus.connection
        inbox = f"{connection.inbox_prefix}.{secrets.token_urlsafe(16)}"
        self._listener = await connection.listen(inbox, on_message)

    async def _unlisten(self) -> None:
        if self._listener is not None:
            await self._bus.connection.unlisten(self._listener)
            self._listener = None

    async def messages(self, *, live: bool) -> AsyncIterator[tuple[int, str, bytes]]:
        """Yield sequence, subject and body of messages; without ``live`` those stored at first."""
        while live or not self._is_at_end:
            try:
                if not self._consumer:
                    await self.consume()
                    continue
                async for message in self._batch():
                    yield message
                    if not live and self._is_at_end:
                        return
            except (FlotillaError, nats.errors.Error, TimeoutError) as error:
                log.info("events are read again from %d: %s", self._last_read, error)
                self._consumer = ""
                await asyncio.sleep(_RETRY_S)

    @property
    def _is_at_end(self) -> bool:
        return self._is_drained or self._last_read >= self._last_stored

    async def _batch(self) -> AsyncIterator[tuple[int, str, bytes]]:
        """Pull once and yield what comes, until JetStream says that this was all for now."""
        subject = f"{_API}.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        request = {"batch": _BATCH, "expires": _WAITS_S * _SECOND_NS}
        queue = self._queue
        inbox = self._listener.subject if self._listener is not None else ""
        await self._bus.connection.publish(subject, json.dumps(request).encode(), inbox)
        for _ in range(_BATCH):
            async with asyncio.timeout(_WAITS_S + 5):
                message = await queue.get()
            if message is None:
                raise UnavailableError("the connection was lost")
            if not message.reply:
                self._on_status(message)
                return
            stream_sequence, consumer_sequence, pending = _places(message.reply)
            self._delivered += 1
            if consumer_sequence != self._delivered:
                raise UnavailableError("some were lost on the way")
            self._last_read = stream_sequence
            self._is_drained = pending == 0
            yield stream_sequence, message.subject, message.data

    @staticmethod
    def _on_status(message: Msg) -> None:
        """Take the end of a batch: its time is over, or the consumer has gone."""
        status = (message.headers or {}).get(headers.STATUS, "")
        if status not in ("404", "408"):
            raise UnavailableError(f"status {status or 'unknown'}")

    async def _on_revival(self) -> None:
        """Give up the batch: what was on its way may be lost."""
        self._queue.put_nowait(None)


def _places(reply: str) -> tuple[int, int, int]:
    """Return a message's place in the stream, in the consumer's own count, and what is behind it.

    They are in its reply subject (NATS ADR-15); a newer server's has two more tokens before them.
    """
    tokens = reply.split(".")
    shift = 0 if len(tokens) == _ACK_TOKENS else 2
    return int(tokens[5 + shift]), int(tokens[6 + shift]), int(tokens[8 + shift])
