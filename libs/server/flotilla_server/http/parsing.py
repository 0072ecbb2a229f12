"""Where requests end, and what the HTTP parser does not do for those that upgrade."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import httptools

HEAD_END = b"\r\n\r\n"
BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})

OnBody = Callable[[bytes], None]
OnEnd = Callable[[], None]


def end_of_head(tail: bytes, data: bytes) -> int:
    """Return where a head (or a chunked body) ends in the data that follows a tail, or -1."""
    over_the_edge = (tail + data[:3]).find(HEAD_END)
    if over_the_edge >= 0:
        return over_the_edge + len(HEAD_END) - len(tail)
    at = data.find(HEAD_END)
    return at if at < 0 else at + len(HEAD_END)


def is_library(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Tell whether the client is an HTTP library, by its naming itself."""
    return any(name == b"user-agent" for name, _ in headers)


class _BodyCallbacks:
    """Hands the body of a request that upgrades to its connection."""

    def __init__(self, on_body: OnBody, on_message_complete: OnEnd) -> None:
        self.on_body = on_body
        self.on_message_complete = on_message_complete


def body_parser(
    on_body: OnBody, on_message_complete: OnEnd, headers: Mapping[bytes, bytes]
) -> httptools.HttpRequestParser:
    """Return a parser of the body alone, which httptools leaves out of requests that upgrade."""
    parser = httptools.HttpRequestParser(_BodyCallbacks(on_body, on_message_complete))
    lines = [b"POST / HTTP/1.1", *(name + b": " + value for name, value in headers.items())]
    parser.feed_data(b"\r\n".join(lines) + HEAD_END)
    return parser
