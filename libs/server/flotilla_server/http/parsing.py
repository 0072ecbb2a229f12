"""Where the head of a request ends, and what it tells of its client."""

from __future__ import annotations

from collections.abc import Sequence

HEAD_END = b"\r\n\r\n"


def end_of_head(tail: bytes, data: bytes) -> int:
    """Return where a head ends in the data that follows a tail, or -1."""
    over_the_edge = (tail + data[:3]).find(HEAD_END)
    if over_the_edge >= 0:
        return over_the_edge + len(HEAD_END) - len(tail)
    at = data.find(HEAD_END)
    return at if at < 0 else at + len(HEAD_END)


def is_library(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Tell whether the client is an HTTP library, by its naming itself."""
    return any(name == b"user-agent" for name, _ in headers)
