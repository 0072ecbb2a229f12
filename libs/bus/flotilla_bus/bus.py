"""The bus as its users see it: calls, streams and notices over one connection to NATS."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Generic

import nats.errors
from nats.aio.msg import Msg
from pydantic import ValidationError

from flotilla_bus import errors, headers
from flotilla_bus.connection import Connection, Credentials
from flotilla_bus.direct import Dialler, DirectListener
from flotilla_bus.frames import Frame, FrameKind, encode
from flotilla_bus.links import DirectLink, NatsLink, deliver
from flotilla_bus.mailbox import Mailbox
from flotilla_bus.methods import A, Method, Notice, Q, StreamMethod, dumped
from flotilla_bus.opening import Opening
from flotilla_bus.questions import Question
from flotilla_bus.streams import PING_INTERVAL_S, Stream
from flotilla_core.errors import InternalError, InvalidArgumentError, UnavailableError

_NOTICES_HELD = 4096


@dataclass(frozen=True)
class Heard(Generic[Q]):
    """A notice that was heard.

    Attributes:
        body: What it said.
        speaker: The node that said it, proven by the broker; empty where the notice has none.
    """

    body: Q
    speaker: str


class Bus:
    """Calls methods, opens streams and tells notices; made by ``connected``.

    While NATS is away, calls wait for it up to their deadline. A call that was under way is sent
    again with the same request id once NATS is back.

    Attributes:
        name: The part's name.
        node: The id of the node that speaks, if it is one.
        name_of_node: Returns how a node is named in errors; by default its id.
    """

    def __init__(self, connection: Connection, name: str, node: str | None = None) -> None:
        """Use a connection."""
        self.connection = connection
        self.name = name
        self.mailbox = Mailbox(connection)
        self.mailbox.unclaimed = self._refuse
        self.listener: DirectListener | None = None
        self.dialler = Dialler()
        self.node = node
        self.name_of_node: Callable[[str], str] = str
        self._streams: dict[Stream, None] = {}
        self._questions: dict[Question, None] = {}
        connection.revivals.append(self._revive)

    @property
    def is_connected(self) -> bool:
        """Whether NATS is there."""
        return self.connection.is_connected

    async def wait_connected(self) -> None:
        """Return as soon as NATS is there."""
        await self.connection.connected.wait()

    @property
    def connections(self) -> int:
        """How often this end has connected to NATS."""
        return self.connection.connections

    def ask_again(self, node: str) -> None:
        """Send what was asked of a node again: it has a new connection, the old one lost things."""
        for question in list(self._questions):
            if question.node == node:
                question.send_again()

    async def flush(self, timeout_s: float = 5) -> None:
        """Return when NATS has taken all that was sent and subscribed.

        Raises:
            UnavailableError: If it has not within that time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.connection.connected.wait()
                await self.connection.flush(timeout_s)
        except (TimeoutError, nats.errors.Error) as error:
            raise UnavailableError("the message bus is not reachable") from error

    @property
    def open_streams(self) -> int:
        """How many streams are open or not yet wholly closed, for leak counts."""
        return len(self._streams)

    @property
    def open_inboxes(self) -> int:
        """How many inboxes are in use, for leak counts."""
        return len(self.mailbox)

    async def call(
        self,
        method: Method[Q, A],
        request: Q,
        *,
        timeout_s: float = 30,
        node: str | None = None,
        request_id: str | None = None,
    ) -> A:
        """Call a method and return its answer.

        Args:
            method: The method.
            request: Its request.
            timeout_s: How long to wait for the answer.
            node: The node that is to answer; only of a node's methods.
            request_id: Given again to repeat a mutating request without doing it twice.

        Raises:
            FlotillaError: What the method raised.
            UnavailableError: Nobody listens there: nothing was done.
            DeadlineExceededError: No answer in time: the outcome is unknown.
        """
        head = {headers.TIMEOUT: f"{timeout_s:g}"}
        if method.mutating:
            head[headers.REQUEST_ID] = request_id or secrets.token_hex(16)
        subject = self._subject(method, node)
        with self.asking(self.target(method.service, node), node) as question:
            answer = await question.ask(subject, dumped(request), head, timeout_s)
        return _parsed(method, answer)

    async def open(
        self,
        method: StreamMethod[Q, A],
        request: Q,
        *,
        timeout_s: float = 30,
        node: str | None = None,
    ) -> tuple[A, Stream]:
        """Open a stream: return the method's answer, and the stream, which the caller closes.

        Args:
            method: The method.
            request: Its request.
            timeout_s: How long to wait for the answer; the stream then lasts as long as it lasts.
            node: The node that is to answer; only of a node's methods.

        Raises:
            FlotillaError: As of ``call``.
        """
        subject = self._subject(method, node)
        opening = Opening(self, self.target(method.service, node), node)
        try:
            with self._under_way(opening):
                answer = await opening.ask(subject, dumped(request), opening.head(), timeout_s)
            stream = await opening.stream()
        except BaseException:
            await opening.abandon()
            raise
        try:
            return _parsed(method, answer), stream
        except InternalError as error:
            await stream.reset(error)
            raise

    async def publish(self, notice: Notice[Q], body: Q, *, node: str | None = None) -> None:
        """Tell a notice to whoever listens: to one node, or to all. Lost while NATS is away."""
        subject = notice.subject(node=node, speaker=self._speaker() if notice.speaker else None)
        with contextlib.suppress(nats.errors.Error):
            await self.connection.publish(subject, dumped(body))

    @contextlib.asynccontextmanager
    async def subscribe(
        self, notice: Notice[Q], *, node: str | None = None
    ) -> AsyncIterator[AsyncIterator[Heard[Q]]]:
        """Listen to a notice for the length of the block, which iterates over what is heard.

        A listener that is too slow misses the oldest.

        Args:
            notice: The notice.
            node: Listen to what is told to this node only; else to what is told to all.
        """
        queue: asyncio.Queue[Heard[Q]] = asyncio.Queue(_NOTICES_HELD)
        subject = notice.subject(node=node, speaker="*" if notice.speaker else None)

        async def on_message(message: Msg) -> None:
            speaker = message.subject.split(".")[2] if notice.speaker else ""
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(Heard(notice.body.model_validate_json(message.data), speaker))

        async def heard() -> AsyncIterator[Heard[Q]]:
            while True:
                yield await queue.get()

        listener = await self.connection.listen(subject, on_message)
        try:
            yield heard()
        finally:
            await self.connection.unlisten(listener)

    def target(self, service: str, node: str | None) -> str:
        """Return how errors name whom a call goes to."""
        return f"service {service}" if node is None else f"node {self.name_of_node(node)}"

    @contextlib.contextmanager
    def asking(self, target: str, node: str | None = None) -> Iterator[Question]:
        """Return a question, which is sent again after a reconnect, for the length of the block."""
        question = Question(self.connection, self.mailbox, target, node)
        try:
            with self._under_way(question):
                yield question
        finally:
            self.mailbox.release(question.inbox)

    def nats_stream(self, inbox: str, peer_inbox: str, peer: str) -> Stream:
        """Return a stream over NATS that receives in a claimed inbox."""
        link = NatsLink(self.connection, peer_inbox, lambda: self._ended(stream, inbox))
        stream = Stream(link, peer)
        self.mailbox.assign(inbox, lambda message: deliver(stream, message))
        self._streams[stream] = None
        return stream

    def direct_stream(self, link: DirectLink, peer: str) -> Stream:
        """Return a stream over a direct connection."""
        stream = Stream(link, peer)
        self._streams[stream] = None
        link.attach(stream, lambda: self._ended(stream, None))
        return stream

    async def tick_forever(self) -> None:
        """Keep all streams alive, and end the dead ones."""
        while True:
            await asyncio.sleep(PING_INTERVAL_S)
            for stream in list(self._streams):
                await stream.on_tick()

    async def close_streams(self) -> None:
        """End all streams, as the bus itself is going."""
        for stream in list(self._streams):
            await stream.reset(UnavailableError("the service is shutting down"))

    def _ended(self, stream: Stream, inbox: str | None) -> None:
        self._streams.pop(stream, None)
        if inbox is not None:
            self.mailbox.release(inbox)

    @contextlib.contextmanager
    def _under_way(self, question: Question) -> Iterator[None]:
        self._questions[question] = None
        try:
            yield
        finally:
            del self._questions[question]

    def _subject(self, method: Method[Q, A] | StreamMethod[Q, A], node: str | None) -> str:
        return method.subject(node=node, speaker=self._speaker() if method.speaker else None)

    def _speaker(self) -> str:
        if self.node is None:
            raise InvalidArgumentError("only a node may say this")
        return self.node

    async def _revive(self) -> None:
        """Catch up after a reconnect: what was under way may have got lost."""
        for question in list(self._questions):
            question.send_again()
        for stream in list(self._streams):
            await stream.on_tick(revived=True)

    async def _refuse(self, message: Msg) -> None:
        """Close the stream of an answer that came after its opener had given up."""
        peer_inbox = (message.headers or {}).get(headers.STREAM, "")
        if peer_inbox and peer_inbox != headers.DIRECT_TAKEN:
            gone = errors.to_bytes(UnavailableError("the caller has given up"))
            frame = Frame(FrameKind.CLOSE, payload=gone)
            with contextlib.suppress(nats.errors.Error):
                await self.connection.publish(peer_inbox, encode(frame))


@contextlib.asynccontextmanager
async def connected(
    servers: str | list[str],
    *,
    name: str,
    node: str | None = None,
    credentials: Credentials | None = None,
    patience_s: float = 5,
    direct_listen: tuple[str, int] | None = None,
    direct_advertise: str = "",
) -> AsyncIterator[Bus]:
    """Return a bus for the length of the block.

    Args:
        servers: The URL of a NATS server, or of several of a cluster: a list, or by comma.
        name: The part's name: a service's, or ``runtime-agent``.
        node: The id of the node that speaks, if it is one; its inboxes are bound to it.
        credentials: What to show to NATS.
        patience_s: How long to wait for the first connection. The bus is returned in any case: it
            keeps trying, and calls wait for it.
        direct_listen: Host and port (0: any) where the other ends of streams may connect directly,
            which is several times faster than through NATS; an inner address, as the connections
            are guarded by one-time tokens but not encrypted. None: all goes through NATS.
        direct_advertise: The host that the other ends dial, if it is not the one listened on.
    """
    urls = servers.split(",") if isinstance(servers, str) else servers
    identity = name if node is None else f"node.{node}"
    connection = Connection(urls, name, identity, credentials)
    bus = Bus(connection, name, node)
    async with contextlib.AsyncExitStack() as stack:
        if direct_listen is not None:
            bus.listener = DirectListener()
            await stack.enter_async_context(
                bus.listener.listening(*direct_listen, direct_advertise)
            )
        await bus.mailbox.open()
        await stack.enter_async_context(connection.kept_up())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await connection.connected.wait()
        ticking = asyncio.create_task(bus.tick_forever(), name=f"{name} streams")
        try:
            yield bus
        finally:
            await bus.close_streams()
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking


def _parsed(method: Method[Q, A] | StreamMethod[Q, A], answer: Msg) -> A:
    try:
        return method.answer.model_validate_json(answer.data)
    except ValidationError as error:
        raise InternalError(
            f"{method.service} {method.name} gave an answer that cannot be read"
        ) from error
