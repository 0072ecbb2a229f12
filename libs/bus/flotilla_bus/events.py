"""The fleet's events on JetStream: said by anybody, in one order, none lost and none twice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import nats.errors
from nats.aio.msg import Msg

from flotilla_bus import jetstream
from flotilla_bus.bus import Bus
from flotilla_bus.spool import Spool
from flotilla_core.errors import DeadlineExceededError, FlotillaError, UnavailableError
from flotilla_engine.events import EventMessage

log = logging.getLogger(__name__)

STREAM = "FLOTILLA_EVENTS"
SUBJECT = "flotilla.events"
_OF_NODES = f"{SUBJECT}.node."

_KEPT_S = 7 * 24 * 3600
_KEPT_BYTES = 1024 * 1024 * 1024
_KEPT_AT_LEAST_BYTES = 4 * 1024 * 1024
_SAME_ID_WITHIN_S = 600
_BATCH = 128
_ACK_WITHIN_S = 5.0
_RETRY_S = 0.25
_RETRY_AT_LEAST_EVERY_S = 10.0
_LATE_NS = 300 * 1_000_000_000
"""How much later than said an event may be stored and still be found by its own time."""


@dataclass(frozen=True)
class StoredEvent:
    """An event with its place in the fleet's order.

    Attributes:
        sequence: Grows with each event.
        event: The event.
        node: The id of the node that said it; empty for a service's.
    """

    sequence: int
    event: EventMessage
    node: str = ""


async def create_stream(bus: Bus, *, replicas: int = 1, timeout_s: float = 30) -> None:
    """Make the stream that holds the events of seven days, at most a gibibyte; or leave it.

    Where the disk has less room than that, the stream gets what JetStream allows.

    Args:
        bus: The bus of a service.
        replicas: How many servers of a NATS cluster keep it.
        timeout_s: How long to wait.

    Raises:
        FlotillaError: If JetStream does not answer, or refuses.
    """
    size = _KEPT_BYTES
    while True:
        config = _config(replicas, size)
        try:
            await jetstream.ensure_stream(bus, STREAM, config, timeout_s=timeout_s)
        except jetstream.NoRoomError:
            if size <= _KEPT_AT_LEAST_BYTES:
                raise
            size //= 2
        else:
            return


def _config(replicas: int, size: int) -> dict[str, object]:
    second = 1_000_000_000
    return {
        "name": STREAM,
        "subjects": [f"{SUBJECT}.>"],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "max_age": _KEPT_S * second,
        "max_bytes": size,
        "duplicate_window": _SAME_ID_WITHIN_S * second,
        "num_replicas": replicas,
    }


@contextlib.asynccontextmanager
async def kept_stream(bus: Bus, *, replicas: int = 1) -> AsyncIterator[None]:
    """See to it that the stream exists for the length of the block, whatever becomes of NATS.

    Events are spooled by their publishers for as long as it does not.
    """
    wanted = asyncio.Event()
    wanted.set()

    async def want() -> None:
        wanted.set()

    async def keep() -> None:
        pause_s = _RETRY_S
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                await create_stream(bus, replicas=replicas)
                pause_s = _RETRY_S
            except FlotillaError as error:
                log.warning("the events' stream is not there yet: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await wanted.wait()
                wanted.set()
                pause_s = min(2 * pause_s, _RETRY_AT_LEAST_EVERY_S)

    bus.connection.revivals.append(want)
    keeping = asyncio.create_task(keep(), name="events' stream")
    try:
        yield
    finally:
        bus.connection.revivals.remove(want)
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


class EventPublisher:
    """Says events; made by ``event_publisher``.

    Events are written to a spool on disk and sent from there, so none is lost while NATS is away
    or when the process dies. The order is kept, and message ids keep any from being stored twice.
    """

    def __init__(self, bus: Bus, spool: Spool, subject: str) -> None:
        """Say events under a subject."""
        self._bus = bus
        self._spool = spool
        self._subject = subject
        self._said = asyncio.Event()
        self._stored = asyncio.Condition()

    def publish(self, event: EventMessage) -> None:
        """Say an event: it is on disk when this returns, and on its way.

        Where the disk is full it is lost, as what it tells of must go on.
        """
        body = event.model_dump_json(by_alias=True)
        try:
            self._spool.add(f"{secrets.token_hex(12)} {body}".encode())
        except OSError as error:
            log.error("event %s %s is lost: %s", event.type, event.action, error)
        self._said.set()

    @property
    def has_unsent(self) -> bool:
        """Whether there are events that are not in the stream yet."""
        return not self._spool.is_empty

    async def flush(self, timeout_s: float = 5) -> None:
        """Return when everything said before is in the stream.

        Raises:
            DeadlineExceededError: If it is not within that time; nothing is lost by that.
        """
        end = self._spool.end
        try:
            async with asyncio.timeout(timeout_s), self._stored:
                await self._stored.wait_for(lambda: self._spool.begin >= end)
        except TimeoutError as error:
            raise DeadlineExceededError("the events are not stored yet") from error

    async def send_forever(self) -> None:
        """Send what is in the spool, in order; a batch that failed is sent again whole."""
        is_held_up = False
        while True:
            self._said.clear()
            try:
                await self._send_batch()
            except (nats.errors.Error, FlotillaError, OSError) as error:
                if not is_held_up:
                    log.info("events are kept on disk for now: %s", error or type(error).__name__)
                is_held_up = True
                await asyncio.sleep(_RETRY_S)
                continue
            if is_held_up:
                log.info("events are sent again")
            is_held_up = False
            async with self._stored:
                self._stored.notify_all()
            if self._spool.is_empty:
                await self._said.wait()

    async def _send_batch(self) -> None:
        lines, position = self._spool.read(self._spool.begin, _BATCH)
        if lines:
            await self._bus.wait_connected()
            await self._send(lines)
        self._spool.done(position)

    async def _send(self, lines: list[bytes]) -> None:
        """Send a batch and return when all of it is in the stream."""
        acks = _Acks(self._bus, len(lines))
        try:
            for line in lines:
                message_id, _, body = line.partition(b" ")
                head = {"Nats-Msg-Id": message_id.decode()}
                try:
                    await self._bus.connection.publish(self._subject, body, acks.inbox, head)
                except nats.errors.MaxPayloadError:
                    log.error("an event of %d bytes is lost: it is too large", len(body))
                    acks.count()
            async with asyncio.timeout(_ACK_WITHIN_S):
                await acks.all
        finally:
            acks.release()


class _Acks:
    """Counts the acknowledgements of a batch."""

    def __init__(self, bus: Bus, count: int) -> None:
        self._mailbox = bus.mailbox
        self._missing = count
        self._revivals = bus.connection.revivals
        self._revivals.append(self._on_revival)
        self.all: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.inbox = self._mailbox.claim(self._on_ack)

    def release(self) -> None:
        """Give the inbox back."""
        self._mailbox.release(self.inbox)
        self._revivals.remove(self._on_revival)
        self.all.cancel()

    async def _on_revival(self) -> None:
        """Wait no longer: what was on its way may be lost."""
        if not self.all.done():
            self.all.set_exception(UnavailableError("the connection was lost"))

    async def _on_ack(self, message: Msg) -> None:
        if self.all.done():
            return
        try:
            jetstream.answer_of(message)
        except FlotillaError as error:
            self.all.set_exception(error)
            return
        self.count()

    def count(self) -> None:
        """Wait for one less."""
        self._missing -= 1
        if self._missing == 0:
            self.all.set_result(None)


@contextlib.asynccontextmanager
async def event_publisher(bus: Bus, folder: Path) -> AsyncIterator[EventPublisher]:
    """Return a publisher for the length of the block.

    Args:
        bus: The bus of a service, or of a node, which can only speak for itself.
        folder: Where events wait until they are in the stream; one process at a time.
    """
    speaker = bus.name if bus.node is None else f"node.{bus.node}"
    spool = Spool(folder)
    publisher = EventPublisher(bus, spool, f"{SUBJECT}.{speaker}")
    sending = asyncio.create_task(publisher.send_forever(), name="events")
    try:
        yield publisher
    finally:
        if bus.is_connected:
            with contextlib.suppress(DeadlineExceededError):
                await publisher.flush(1)
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        spool.close()


@contextlib.asynccontextmanager
async def events_since(
    bus: Bus, since_ns: int | None = None, *, live: bool = True
) -> AsyncIterator[AsyncIterator[StoredEvent]]:
    """Iterate over events in their one order, for the length of the block.

    Args:
        bus: The bus of a service.
        since_ns: Begin with events of this time (nanoseconds since the epoch, by the events' own
            clock); None: with those stored after the block was entered.
        live: Go on with events as they come. Otherwise the iteration ends after the last event
            that was stored when the block was entered.

    Raises:
        FlotillaError: If JetStream does not answer. During the iteration, the reader waits for it.
    """
    reader = await jetstream.opened_reader(
        bus, STREAM, since_ns=None if since_ns is None else since_ns - _LATE_NS
    )

    async def iterate() -> AsyncIterator[StoredEvent]:
        async for sequence, subject, data in reader.messages(live=live):
            event = EventMessage.model_validate_json(data)
            if since_ns is None or event.time_nano >= since_ns:
                node = subject.removeprefix(_OF_NODES) if subject.startswith(_OF_NODES) else ""
                yield StoredEvent(sequence, event, node)

    iterator = iterate()
    try:
        yield iterator
    finally:
        await reader.aclose()
