"""Short reads without a hop to another thread: on SQLite that costs more than the rows do."""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.parse import quote

from sqlalchemy import Dialect, Select
from sqlalchemy.sql.compiler import SQLCompiler


class LookUp:
    """A SELECT made ready for the driver: its text, its parameters' order, its rows' types."""

    def __init__(self, statement: Select[*tuple[Any, ...]], dialect: Dialect) -> None:
        """Compile it once."""
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        self.text = str(compiled)
        self._order = tuple(compiled.positiontup or ())
        self._fixed = dict(compiled.params)
        columns = list(statement.selected_columns)
        self._processors = [
            (index, processor)
            for index, column in enumerate(columns)
            if (processor := _processor(column.type, dialect)) is not None
        ]
        self._row: Callable[[Sequence[Any]], Any] = _named(columns)

    def arguments(self, parameters: Mapping[str, object]) -> list[object]:
        """Return the parameters as the driver wants them."""
        return [parameters.get(name, self._fixed.get(name)) for name in self._order]

    def rows(self, found: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the driver's rows with names, and in Python's types."""
        if not self._processors:
            return list(map(self._row, found))
        rows = []
        for one in found:
            values = list(one)
            for index, processor in self._processors:
                values[index] = processor(values[index])
            rows.append(self._row(values))
        return rows


def _named(columns: Sequence[Any]) -> Callable[[Sequence[Any]], Any]:
    names = tuple(column.name for column in columns)
    row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # known only here
    return cast("Callable[[Sequence[Any]], Any]", row._make)


def _processor(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    found: Callable[[Any], Any] | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return found


class SqliteReader:
    """A connection to SQLite for the loop's own thread; readers wait for no writer (WAL)."""

    def __init__(self, path: str) -> None:
        """Remember the path; the first read opens it."""
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def read(self, text: str, arguments: Sequence[object]) -> list[Any] | None:
        """Return the rows, or None if they cannot be had at once."""
        try:
            if self._connection is None:
                url = f"file:{quote(self._path)}?mode=rw"  # never made anew
                self._connection = sqlite3.connect(url, uri=True, timeout=0, isolation_level=None)
                self._connection.execute("PRAGMA query_only=ON")
            return self._connection.execute(text, arguments).fetchall()
        except sqlite3.Error:
            return None

    def close(self) -> None:
        """Close it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
