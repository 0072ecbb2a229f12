"""A service's database: transactions and reads, with clear errors and retries."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from flotilla_core.errors import InternalError, InvalidArgumentError, UnavailableError
from flotilla_database.lookups import LookUp, SqliteReader
from flotilla_database.sqlite import ThreadConnection

T = TypeVar("T")

_POOL_SIZE = 8
_ATTEMPTS = 8
_CONFLICTS = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected
_CONNECT_TIMEOUT_S = 10
_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY")
_NO_CONNECTION = ("08", "57P", "28", "3D", "53")  # SQLSTATE classes of "cannot connect"


class Database:
    """A database; safe for any number of tasks of one event loop.

    Attributes:
        is_sqlite: Whether writers queue for one file.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Use an engine; `opened` makes one."""
        self._engine = engine
        self._writer = asyncio.Lock()
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._reader = SqliteReader(engine.url.database or "") if self.is_sqlite else None
        self._look_ups: dict[Select[*tuple[Any, ...]], LookUp] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection whose changes are committed at the end, or undone on an error.

        On SQLite writers queue; on PostgreSQL isolation is READ COMMITTED.

        Raises:
            UnavailableError: If the database cannot be reached.
        """
        async with self._queue(), self._connected() as connection, connection.begin():
            if self.is_sqlite and connection.sync_connection is not None:
                driver = connection.sync_connection.connection.driver_connection
                if isinstance(driver, ThreadConnection):
                    driver.begin_with_next("BEGIN IMMEDIATE")
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection to read with; it waits for no writer on SQLite.

        Raises:
            UnavailableError: If the database cannot be reached.
        """
        async with self._connected() as connection:
            yield connection

    async def look_up(
        self,
        statement: Select[*tuple[Any, ...]],
        parameters: Mapping[str, object] | None = None,
    ) -> Sequence[Any]:
        """Return the rows of a short read, outside of transactions.

        On SQLite this is several times cheaper than `reading`.

        Args:
            statement: A constant of its module: what it compiles to is kept.
            parameters: Values of its `bindparam`s.

        Raises:
            UnavailableError: If the database cannot be reached.
        """
        if self._reader is not None:
            look_up = self._look_ups.get(statement)
            if look_up is None:
                look_up = self._look_ups[statement] = LookUp(statement, self._engine.dialect)
            found = self._reader.read(look_up.text, look_up.arguments(parameters or {}))
            if found is not None:
                return look_up.rows(found)
        async with self.reading() as connection:
            return (await connection.execute(statement, parameters)).all()

    async def change(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run work in a transaction, again if another transaction was in its way.

        Raises:
            UnavailableError: If the database cannot be reached.
        """
        for attempt in range(_ATTEMPTS):
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except DBAPIError as error:
                if attempt == _ATTEMPTS - 1 or not _is_conflict(error):
                    raise
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))
        raise AssertionError("unreachable")

    def _queue(self) -> contextlib.AbstractAsyncContextManager[Any]:
        return self._writer if self.is_sqlite else contextlib.nullcontext()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        try:
            connection = await self._engine.connect()
        except (OSError, DBAPIError) as error:
            raise self._translated(error, connecting=True) from error
        try:
            yield connection
        except DBAPIError as error:
            translated = self._translated(error, connecting=False)
            if translated is error:
                raise
            raise translated from error
        finally:
            await asyncio.shield(connection.close())

    def _translated(self, error: OSError | DBAPIError, *, connecting: bool) -> Exception:
        """Return what to raise: only a lost or refused connection is told as unavailable."""
        if isinstance(error, DBAPIError):
            name = str(getattr(error.orig, "sqlite_errorname", ""))
            if not connecting and name.startswith(_DISK):
                return InternalError(f"database {_shown(self._engine.url)}: {error.orig}")
            state = str(getattr(error.orig, "sqlstate", None) or "")
            refused = connecting and isinstance(error, OperationalError | InterfaceError)
            if not (refused or error.connection_invalidated or state.startswith(_NO_CONNECTION)):
                return error
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        return UnavailableError(f"database {_shown(self._engine.url)} cannot be reached: {reason}")

    def forget(self) -> None:
        """Let go of what `look_up` has opened."""
        if self._reader is not None:
            self._reader.close()

    async def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            UnavailableError: If it cannot be reached.
        """
        async with self.reading() as connection:
            await connection.exec_driver_sql("SELECT 1")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Open the database of a URL while the context lasts.

    Args:
        url: `sqlite:///relative`, `sqlite:////absolute` or `postgresql://user@host/name`, with or
            without the names of the drivers.

    Raises:
        InvalidArgumentError: If the URL is none of these.
        UnavailableError: If the database cannot be reached.
    """
    engine = _engine(url)
    database = Database(engine)
    try:
        await database.ping()
        yield database
    finally:
        database.forget()
        await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidArgumentError("database URL: sqlite:/// or postgresql:// expected") from None
    match parsed.get_backend_name():
        case "sqlite":
            return _sqlite(parsed)
        case "postgresql":
            return create_async_engine(
                parsed.set(drivername="postgresql+asyncpg"),
                pool_size=_POOL_SIZE,
                max_overflow=_POOL_SIZE,
                pool_pre_ping=True,
                connect_args={"timeout": _CONNECT_TIMEOUT_S},
            )
        case other:
            raise InvalidArgumentError(f"database {other} is not supported: sqlite or postgresql")


def _sqlite(url: URL) -> AsyncEngine:
    path = url.database or ""
    if not path or path == ":memory:":
        raise InvalidArgumentError("database URL: sqlite needs the path of a file")

    async def connect(*_: object, **__: object) -> ThreadConnection:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error
        return await ThreadConnection(path).connect()

    return create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        async_creator=connect,
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_SIZE,
    )


def _is_conflict(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in _CONFLICTS


def _shown(url: URL) -> str:
    """Return the URL without its password."""
    return url.render_as_string(hide_password=True)
