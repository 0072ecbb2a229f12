"""One request under way: sent, sent again when NATS comes back, answered or given up."""

from __future__ import annotations

import asyncio

import nats.errors
from nats.aio.msg import Msg

from flotilla_bus import errors, headers
from flotilla_bus.connection import Connection
from flotilla_bus.mailbox import Mailbox
from flotilla_core.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    UnavailableError,
)

COME_BACK_WITHIN_S = 5.0
"""How long after a reconnect others may still be on their way back."""

_COME_BACK_STEP_S = 0.1


class Question:
    """A request and the inbox for its answer.

    ``target`` names who is asked in errors; ``node`` is the node that is asked.
    Used as a context manager, which gives the inbox back.
    """

    def __init__(
        self, connection: Connection, mailbox: Mailbox, target: str, node: str | None = None
    ) -> None:
        """Claim an inbox."""
        self.node = node
        self._connection = connection
        self._mailbox = mailbox
        self._target = target
        self._answer: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()
        self._sent = False
        self.inbox = mailbox.claim(self.receive)

    async def receive(self, message: Msg) -> None:
        """Take the first answer."""
        if not self._answer.done():
            self._answer.set_result(message)

    def send_again(self) -> None:
        """Have the request sent again, as its answer may have got lost."""
        if not self._answer.done():
            self._answer.set_result(None)

    async def ask(
        self, subject: str, payload: bytes, head: dict[str, str], timeout_s: float
    ) -> Msg:
        """Return the answer.

        Raises:
            FlotillaError: The error that came as the answer.
            UnavailableError: Nobody listens there, or NATS has been away all the time.
            DeadlineExceededError: No answer in time.
            InvalidArgumentError: The request is too large for a message.
        """
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._answered(subject, payload, head)
        except TimeoutError as error:
            if not self._sent:
                raise UnavailableError("the message bus is not reachable") from error
            raise DeadlineExceededError(
                f"{self._target} did not answer within {timeout_s:g} s"
            ) from error
        problem = errors.from_headers(answer.headers)
        if problem is not None:
            raise problem
        return answer

    async def _answered(self, subject: str, payload: bytes, head: dict[str, str]) -> Msg:
        connection = self._connection
        loop = asyncio.get_running_loop()
        while True:
            if not connection.is_connected:
                await connection.connected.wait()
            try:
                await connection.publish(subject, payload, self.inbox, head)
            except nats.errors.MaxPayloadError as error:
                raise InvalidArgumentError(
                    f"the request to {self._target} is too large: {len(payload)} bytes"
                ) from error
            except nats.errors.Error:
                await asyncio.sleep(_COME_BACK_STEP_S)
                continue
            self._sent = True
            answer = await self._answer
            self._answer = loop.create_future()
            if answer is None:
                continue
            if not answer.headers or answer.headers.get(headers.STATUS) != headers.NO_RESPONDERS:
                return answer
            if loop.time() > connection.last_change + COME_BACK_WITHIN_S:
                raise UnavailableError(f"{self._target} is not reachable")
            await asyncio.sleep(_COME_BACK_STEP_S)
