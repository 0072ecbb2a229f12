"""A part's inbox: one subscription for all the answers and stream frames that come to it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from nats.aio.msg import Msg

from flotilla_bus.connection import Connection

Receiver: TypeAlias = Callable[[Msg], Awaitable[None]]


class Mailbox:
    """Hands each message to the receiver of the last token of its subject.

    Tokens cannot be guessed: whoever may send to inboxes still reaches only those it was told.
    """

    def __init__(self, connection: Connection) -> None:
        """Use a connection; ``open`` begins to receive."""
        self._connection = connection
        self._prefix = f"{connection.inbox_prefix}.{secrets.token_hex(8)}."
        self._receivers: dict[str, Receiver] = {}
        self.unclaimed: Receiver | None = None

    def __len__(self) -> int:
        """Return how many receivers there are, for leak counts."""
        return len(self._receivers)

    async def open(self) -> None:
        """Subscribe."""
        await self._connection.listen(f"{self._prefix}*", self._on_message)

    def claim(self, receiver: Receiver) -> str:
        """Return a new subject whose messages go to the receiver, until ``release``."""
        token = secrets.token_urlsafe(16)
        self._receivers[token] = receiver
        return self._prefix + token

    def assign(self, subject: str, receiver: Receiver) -> None:
        """Give a claimed subject another receiver."""
        self._receivers[subject[len(self._prefix) :]] = receiver

    def release(self, subject: str) -> None:
        """Drop what still comes to the subject."""
        self._receivers.pop(subject[len(self._prefix) :], None)

    async def _on_message(self, message: Msg) -> None:
        receiver = self._receivers.get(message.subject[len(self._prefix) :], self.unclaimed)
        if receiver is not None:
            await receiver(message)
