"""Query parameters as dockerd reads them (moby `api/server/httputils/form.go`)."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection

from flotilla_core.errors import InvalidArgumentError

_FALSE = frozenset({"", "0", "no", "false", "none"})


class Query:
    """The query of one request."""

    def __init__(self, connection: HTTPConnection) -> None:
        """Read the query of a request or of a web socket."""
        self._values: QueryParams = connection.query_params

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean; everything but dockerd's words for no is true."""
        if name not in self._values:
            return default
        return self._values[name].strip().lower() not in _FALSE

    def text(self, name: str, default: str = "") -> str:
        """Return the first value."""
        values = self._values.getlist(name)
        return values[0] if values else default

    def texts(self, name: str) -> list[str]:
        """Return all values."""
        return self._values.getlist(name)

    def integer(self, name: str) -> int:
        """Return a whole number.

        Raises:
            InvalidArgumentError: If it is missing or none, with Go's text.
        """
        value = self.text(name)
        try:
            return go_integer(value)
        except ValueError:
            text = f'strconv.Atoi: parsing "{value}": invalid syntax'
            raise InvalidArgumentError(text) from None


def go_integer(text: str) -> int:
    """Read digits as `strconv.Atoi` does: ASCII only, no spaces or underscores.

    Raises:
        ValueError: If the text is something else, or too large.
    """
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise ValueError(text)
    return int(text)
