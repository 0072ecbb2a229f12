"""The connection to NATS: kept up for ever, usable before it is up, subscriptions remembered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from flotilla_bus.sockets import bound_silence
from flotilla_core.errors import InvalidArgumentError

log = logging.getLogger(__name__)

_RETRY_S = 0.25
_PING_INTERVAL_S = 5
_SERVER_ANSWERS_WITHIN_S = 3
_PENDING_MESSAGES = 1024 * 1024
_PENDING_BYTES = 512 * 1024 * 1024

Callback: TypeAlias = Callable[[Msg], Awaitable[None]]


@dataclass(frozen=True)
class Credentials:
    """What a part shows to NATS.

    Attributes:
        user: The user.
        password: The user's password; never logged.
    """

    user: str
    password: str

    @classmethod
    def read(cls, path: Path | None) -> Credentials | None:
        """Read the file ``{"user": …, "password": …}``; None where there is none to read.

        Raises:
            InvalidArgumentError: If the file is not what it should be.
        """
        if path is None:
            return None
        try:
            document = json.loads(path.read_text())
            return cls(user=document["user"], password=document["password"])
        except OSError as error:
            raise InvalidArgumentError(f"NATS credentials {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            text = f'NATS credentials {path}: {{"user": "…", "password": "…"}} is expected'
            raise InvalidArgumentError(text) from None

    def __repr__(self) -> str:
        """Return the user only."""
        return f"Credentials(user={self.user!r})"


@dataclass(eq=False)
class Listener:
    """A subject that is listened on, whatever becomes of the connection."""

    subject: str
    queue: str
    callback: Callback
    held: NatsSubscription | None = None


class Connection:
    """A NATS connection that is always being kept up.

    ``connected`` is set while messages can be sent. ``revivals`` are called after each return of
    the connection but the first.
    """

    def __init__(
        self, servers: list[str], name: str, identity: str, credentials: Credentials | None
    ):
        """Describe the connection; ``identity`` begins the inboxes that it may listen on."""
        self._servers = servers
        self._name = name
        self._credentials = credentials
        self._client: Client | None = None
        self._listeners: list[Listener] = []
        self._lost = asyncio.Event()
        self.connections = 0
        self._last_error = ""
        self.inbox_prefix = f"_INBOX.{identity}"
        self.connected = asyncio.Event()
        self.last_change = asyncio.get_running_loop().time()
        self.revivals: list[Callable[[], Awaitable[None]]] = []

    @contextlib.asynccontextmanager
    async def kept_up(self) -> AsyncIterator[None]:
        """Connect, and keep connecting, for the length of the block."""
        task = asyncio.create_task(self._keep_up(), name=f"{self._name} NATS connection")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self._close()

    @property
    def client(self) -> Client:
        """The client, for what needs more than messages.

        Raises:
            nats.errors.ConnectionClosedError: Before the first connection.
        """
        if self._client is None:
            raise nats.errors.ConnectionClosedError
        return self._client

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        return self.connected.is_set()

    async def publish(
        self,
        subject: str,
        payload: bytes,
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a message.

        Raises:
            nats.errors.Error: If there is no connection now, or the message is too large.
        """
        if not self.connected.is_set():
            raise nats.errors.ConnectionReconnectingError
        await self.client.publish(subject, payload, reply, headers)

    async def listen(self, subject: str, callback: Callback, queue: str = "") -> Listener:
        """Listen on a subject, now or as soon as there is a connection, until ``unlisten``."""
        listener = Listener(subject, queue, callback)
        self._listeners.append(listener)
        if self._client is not None and not self._client.is_closed:
            await self._subscribe(self._client, listener)
        return listener

    async def unlisten(self, listener: Listener) -> None:
        """End what ``listen`` began; harmless when ended."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if listener.held is not None:
            held, listener.held = listener.held, None
            with contextlib.suppress(nats.errors.Error):
                await held.unsubscribe()

    async def flush(self, timeout_s: float) -> None:
        """Return when NATS has taken all that was sent.

        Raises:
            nats.errors.Error: If it has not within that time.
        """
        await self.client.flush(max(1, round(timeout_s)))

    async def _keep_up(self) -> None:
        """Make a client whenever there is none: one that NATS has turned away is closed."""
        while True:
            client = Client()
            self._lost.clear()
            try:
                await self._connect(client)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.warning("%s: no connection to NATS: %s", self._name, error or type(error))
                await client.close()
                await asyncio.sleep(_RETRY_S)
                continue
            again = self._client is not None
            self._client = client
            try:
                for listener in list(self._listeners):
                    await self._subscribe(client, listener)
                await (self._on_reconnected() if again else self._on_connected())
            except nats.errors.Error as error:
                log.warning("%s: lost the connection to NATS at once: %s", self._name, error)
                await client.close()
            await self._lost.wait()

    async def _connect(self, client: Client) -> None:
        credentials = self._credentials
        await client.connect(
            servers=self._servers,
            name=self._name,
            user=credentials.user if credentials else None,
            password=credentials.password if credentials else None,
            inbox_prefix=self.inbox_prefix,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RETRY_S,  # type: ignore[arg-type]  # any number will do
            connect_timeout=_SERVER_ANSWERS_WITHIN_S,
            ping_interval=_PING_INTERVAL_S,
            max_outstanding_pings=2,
            skip_subject_validation=True,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
        )

    async def _close(self) -> None:
        client, self._client = self._client, None
        self.connected.clear()
        if client is None or client.is_closed:
            return
        if client.is_connected:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await client.flush(1)
        await client.close()

    @staticmethod
    async def _subscribe(client: Client, listener: Listener) -> None:
        listener.held = await client.subscribe(
            listener.subject,
            queue=listener.queue,
            cb=listener.callback,
            pending_msgs_limit=_PENDING_MESSAGES,
            pending_bytes_limit=_PENDING_BYTES,
        )

    async def _on_connected(self) -> None:
        self.connections += 1
        self.last_change = asyncio.get_running_loop().time()
        self._last_error = ""
        writer = getattr(self.client._transport, "_io_writer", None)
        if writer is not None:
            bound_silence(writer.transport)
        self.connected.set()

    async def _on_reconnected(self) -> None:
        log.info("%s: connected to NATS again", self._name)
        await self._on_connected()
        for revive in list(self.revivals):
            try:
                await revive()
            except Exception:
                log.exception("%s: not all is as before the connection was lost", self._name)

    async def _on_disconnected(self) -> None:
        if self.connected.is_set():
            log.warning("%s: lost the connection to NATS", self._name)
        self.connected.clear()
        self.last_change = asyncio.get_running_loop().time()
        if self._client is not None:
            # What nats-py still holds would arrive after the reconnect, though what was written
            # before it is lost: everything above sends again in order instead.
            self._client._pending.clear()
            self._client._pending_data_size = 0

    async def _on_closed(self) -> None:
        await self._on_disconnected()
        self._lost.set()

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, (OSError, nats.errors.UnexpectedEOF, nats.errors.TimeoutError)):
            log.debug("%s: NATS: %s", self._name, error)
        elif str(error) != self._last_error:
            self._last_error = str(error)
            log.warning("%s: %s", self._name, error)
