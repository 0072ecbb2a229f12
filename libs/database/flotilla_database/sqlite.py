"""SQLite for asyncio: a thread per connection, one hop per statement, safe to cancel.

Takes aiosqlite's place under SQLAlchemy's dialect of that name. aiosqlite needs four hops for a
statement, and a cancelled caller of it leaves before its statement ends: the transaction would
stay open and the database locked.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, Self

BUSY_TIMEOUT_S = 30.0
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-1000",  # KiB of each connection; the kernel has the file in memory anyway
)

_Job = tuple["asyncio.Future[Any] | None", Callable[[], Any] | None]


class _Outcome(asyncio.Future[Any]):
    """A future that cannot be cancelled: its waiter's cancellation comes when it is done."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Refuse; the waiting task then takes the cancellation at its next step."""
        return False


class ThreadConnection:
    """A connection to SQLite whose calls run in its own thread, in order."""

    def __init__(self, path: str) -> None:
        """Remember the path; `connect` opens it."""
        self._path = path
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._begin_pending = ""
        self._is_stopped = False
        self._thread = Thread(target=_work, args=(self._jobs,), daemon=True, name="sqlite")

    async def connect(self) -> Self:
        """Open the file, making it if it is missing.

        Raises:
            sqlite3.OperationalError: If that is impossible.
        """
        self._thread.start()
        try:
            self._connection = await self.run(self._opened)
        except BaseException:
            self.stop()
            raise
        return self

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        return connection

    @property
    def _conn(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("connection closed")
        return self._connection

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run a function in the thread, to its end whatever happens to the caller."""
        if self._is_stopped:
            raise sqlite3.OperationalError("connection closed")
        outcome = _Outcome(loop=asyncio.get_running_loop())
        self._jobs.put((outcome, function))
        return await outcome

    def begin_with_next(self, statement: str) -> None:
        """Begin a transaction together with the next statement, which saves a hop."""
        self._begin_pending = statement

    def statement(self, call: Callable[[sqlite3.Cursor], object]) -> _Result:
        """Execute and fetch everything (called in the thread)."""
        begin, self._begin_pending = self._begin_pending, ""
        if begin:
            self._conn.execute(begin)
        cursor = self._conn.cursor()
        try:
            call(cursor)
            rows = cursor.fetchall() if cursor.description else []
            return _Result(cursor.description, rows, cursor.rowcount, cursor.lastrowid or 0)
        finally:
            cursor.close()

    def cursor(self) -> ThreadCursor:
        """Return a cursor; it has nothing open of its own."""
        return ThreadCursor(self)

    async def commit(self) -> None:
        """Commit, if a transaction is open."""
        self._begin_pending = ""
        if self._conn.in_transaction:
            await self.run(self._conn.commit)

    async def rollback(self) -> None:
        """Roll back, if a transaction is open."""
        self._begin_pending = ""
        if self._connection is not None and self._connection.in_transaction:
            await self.run(self._connection.rollback)

    async def create_function(self, *args: Any, **kwargs: Any) -> None:
        """Offer a Python function to SQL (SQLAlchemy's `regexp`)."""
        await self.run(lambda: self._conn.create_function(*args, **kwargs))

    async def close(self) -> None:
        """Close, rolling back what is open; safe to call twice."""
        if not self._is_stopped:
            await self.run(self._closed)
            self.stop()

    def _closed(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def stop(self) -> None:
        """Close without waiting for it."""
        self._is_stopped = True
        self._jobs.put((None, self._closed))
        self._jobs.put((None, None))


class _Result:
    """What a statement gave."""

    def __init__(self, description: Any, rows: list[Any], rowcount: int, lastrowid: int) -> None:
        self.description = description
        self.rows = rows
        self.rowcount = rowcount
        self.lastrowid = lastrowid


class ThreadCursor:
    """The asynchronous cursor that SQLAlchemy's adapter expects."""

    arraysize = 1

    def __init__(self, connection: ThreadConnection) -> None:
        """Use a connection."""
        self._connection = connection
        self._result = _Result(None, [], -1, 0)

    async def __aenter__(self) -> Self:
        """Return the cursor itself."""
        return self

    @property
    def description(self) -> Any:
        """The columns of the result."""
        return self._result.description

    @property
    def rowcount(self) -> int:
        """How many rows changed."""
        return self._result.rowcount

    @property
    def lastrowid(self) -> int:
        """The rowid of the last inserted row."""
        return self._result.lastrowid

    async def execute(self, operation: str, parameters: Any = ()) -> None:
        """Execute a statement and fetch its rows, in one hop."""
        await self._run(lambda cursor: cursor.execute(operation, parameters))

    async def executemany(self, operation: str, parameters: Sequence[Any]) -> None:
        """Execute a statement once for each of the parameters."""
        await self._run(lambda cursor: cursor.executemany(operation, parameters))

    async def _run(self, call: Callable[[sqlite3.Cursor], object]) -> None:
        connection = self._connection
        self._result = await connection.run(lambda: connection.statement(call))

    async def fetchall(self) -> list[Any]:
        """Return the rows, fetched already."""
        rows, self._result.rows = self._result.rows, []
        return rows

    async def close(self) -> None:
        """Do nothing: the real cursor is closed."""


def _work(jobs: SimpleQueue[_Job]) -> None:
    """Do jobs until there is one without a function."""
    while True:
        future, function = jobs.get()
        if function is None:
            return
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:  # noqa: BLE001 - handed to the waiter
            error = raised
        if future is not None:
            try:
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
