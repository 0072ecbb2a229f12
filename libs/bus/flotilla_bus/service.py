"""The serving side: handlers of methods and streams, each request in a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Self, TypeAlias

from nats.aio.msg import Msg
from pydantic import ValidationError

from flotilla_bus import headers
from flotilla_bus.acceptance import Accept, Acceptance, AnyAcceptance, reply
from flotilla_bus.bus import Bus
from flotilla_bus.connection import Callback, Listener
from flotilla_bus.methods import A, Method, Q, StreamMethod, dumped
from flotilla_bus.outcomes import Outcome, Outcomes
from flotilla_core.errors import (
    FlotillaError,
    InvalidArgumentError,
    UnavailableError,
    unexpected,
)

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Q], Awaitable[A]] | Callable[[Q, str], Awaitable[A]]
StreamHandler: TypeAlias = (
    Callable[[Q, Accept[A]], Awaitable[None]] | Callable[[Q, Accept[A], str], Awaitable[None]]
)


class Service:
    """Serves methods for the length of an ``async with`` block; at its end handlers are cancelled.

    Replicas of one service share the requests. Errors of the taxonomy reach the caller as they
    are; anything else is a bug, which is logged and reaches the caller as ``internal error``.
    """

    def __init__(self, bus: Bus, *, name: str, node: str | None = None) -> None:
        """Serve methods of the service ``name``; with a node, methods of that node."""
        self._bus = bus
        self._name = name
        self._node = node
        self._listeners: list[Listener] = []
        self._outcomes = Outcomes()
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscribing: list[asyncio.Task[None]] = []
        self._conversations: dict[str, AnyAcceptance] = {}

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more requests, and cancel those under way."""
        await asyncio.gather(*self._subscribing, return_exceptions=True)
        for listener in self._listeners:
            await self._bus.connection.unlisten(listener)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def running(self) -> int:
        """How many requests are being handled."""
        return len(self._tasks)

    async def ready(self) -> None:
        """Return when requests reach all handlers given so far.

        Raises:
            UnavailableError: If NATS is away for some seconds; the handlers stay given.
        """
        await asyncio.gather(*self._subscribing)
        await self._bus.flush()

    def handle(self, method: Method[Q, A], handler: Handler[Q, A]) -> None:
        """Answer a method with ``handler(request)``, or ``handler(request, speaker)``.

        A handler of a method that changes nothing is cancelled when its caller has stopped waiting.
        """

        async def on_message(message: Msg) -> None:
            self._spawn(self._answer(method, handler, message))

        self._listen(method, on_message)

    def handle_stream(self, method: StreamMethod[Q, A], handler: StreamHandler[Q, A]) -> None:
        """Answer a stream method with ``handler(request, accept)``, or with the speaker as well.

        The handler calls ``stream = await accept(answer)``, or raises before. When it returns,
        the stream is ended well; when it raises, it is reset with that error. A handler that does
        not notice the other end's going by itself is cancelled soon after.
        """

        async def on_message(message: Msg) -> None:
            self._spawn(self._converse(method, handler, message))

        self._listen(method, on_message)

    def _listen(self, method: Method[Q, A] | StreamMethod[Q, A], on_message: Callback) -> None:
        subject = method.subject(
            node=self._node if method.of_node else None,
            speaker="*" if method.speaker else None,
        )

        async def listen() -> None:
            # A node listens without a queue group: after a cut, the broker may still hold its dead
            # connection, and would hand requests to that one by turns.
            queue = "" if method.of_node else self._name
            connection = self._bus.connection
            self._listeners.append(await connection.listen(subject, on_message, queue))

        self._subscribing.append(asyncio.create_task(listen()))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, method: Method[Q, A], handler: Handler[Q, A], message: Msg) -> None:
        head = message.headers or {}
        request_id = head.get(headers.REQUEST_ID)

        async def run() -> Outcome:
            return await self._outcome(method, handler, message)

        if method.mutating and request_id:
            outcome = await self._outcomes.once(request_id, run)
        else:
            try:
                async with asyncio.timeout(_seconds(head.get(headers.TIMEOUT))):
                    outcome = await run()
            except TimeoutError:
                log.info("%s %s: the caller has stopped waiting", method.service, method.name)
                return
        await reply(self._bus, message, outcome)

    async def _outcome(self, method: Method[Q, A], handler: Handler[Q, A], message: Msg) -> Outcome:
        try:
            arguments = [_parsed(method, message), *_speaker(method, message)]
            answer: A = await handler(*arguments)  # type: ignore[arg-type]
            return Outcome(dumped(answer))
        except FlotillaError as error:
            return Outcome.of_error(error)
        except Exception as error:
            log.exception("%s %s failed", method.service, method.name)
            return Outcome.of_error(unexpected(error))

    async def _converse(
        self, method: StreamMethod[Q, A], handler: StreamHandler[Q, A], message: Msg
    ) -> None:
        if message.reply in self._conversations:
            await self._conversations[message.reply].answer_again()
            return
        accept = Acceptance[A](self._bus, message)
        self._conversations[message.reply] = accept
        try:
            arguments = [_parsed(method, message), accept, *_speaker(method, message)]
            await handler(*arguments)  # type: ignore[arg-type]
            await accept.finish()
        except FlotillaError as error:
            await accept.fail(error)
        except asyncio.CancelledError:
            await accept.fail(UnavailableError("the service is shutting down"))
            raise
        except Exception as error:
            log.exception("%s %s failed", method.service, method.name)
            await accept.fail(unexpected(error))
        finally:
            accept.stop_watching()
            del self._conversations[message.reply]


def _parsed(method: Method[Q, A] | StreamMethod[Q, A], message: Msg) -> Q:
    try:
        return method.request.model_validate_json(message.data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidArgumentError(
            f"{method.service} {method.name}: {where}: {first['msg']}"
        ) from error


def _speaker(method: Method[Q, A] | StreamMethod[Q, A], message: Msg) -> list[str]:
    """Return the speaker as the handler's last argument, where the method has one."""
    return [message.subject.split(".")[2]] if method.speaker else []


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
