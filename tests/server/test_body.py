"""Tests of flotilla_server.http.body: where bodies end, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla_server.http.body import (
    LINE_LIMIT_BYTES,
    OVERHEAD_LIMIT_BYTES,
    TRAILER_LIMIT_BYTES,
    Body,
    BodyError,
    ChunkedBody,
    SizedBody,
    joined,
)

_EXTENSIONS = st.sampled_from(["", " ", ";a=b", ' ; name="a value"', "\t;x"])
_TRAILERS = st.lists(st.sampled_from(["Digest: abc", "X-Checked:", "a: \tb"]), max_size=3)


def _in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def _taken(body: Body, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Return the body, and what follows it, as a connection would see them."""
    content, behind = b"", b""
    for piece in pieces:
        if body.ended:
            behind += piece
        elif piece:
            parts, rest = body.take(piece)
            content += joined(parts)
            behind += rest
            assert body.ended or not rest
    return content, behind


@settings(deadline=None)
@given(
    chunks=st.lists(st.tuples(st.binary(min_size=1, max_size=40), _EXTENSIONS), max_size=8),
    repeated=st.integers(1, 4),
    trailers=_TRAILERS,
    behind=st.binary(max_size=30),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
    capital=st.booleans(),
)
def test_a_chunked_body_is_found_however_it_is_cut(
    chunks: list[tuple[bytes, str]],
    repeated: int,
    trailers: list[str],
    behind: bytes,
    cuts: list[int],
    capital: bool,
) -> None:
    sent, expected = b"", b""
    for data, extension in chunks:
        size = f"{len(data):X}" if capital else f"{len(data):x}"
        sent += (f"{size}{extension}\r\n".encode() + data + b"\r\n") * repeated
        expected += data * repeated
    sent += b"000\r\n" + "".join(f"{line}\r\n" for line in trailers).encode() + b"\r\n"
    body = ChunkedBody()
    assert _taken(body, _in_pieces(sent + behind, cuts)) == (expected, behind)
    assert body.ended


@settings(deadline=None)
@given(
    content=st.binary(min_size=1, max_size=100),
    behind=st.binary(max_size=30),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
)
def test_a_sized_body_ends_with_its_size(content: bytes, behind: bytes, cuts: list[int]) -> None:
    body = SizedBody(len(content))
    assert _taken(body, _in_pieces(content + behind, cuts)) == (content, behind)
    assert body.ended


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n",
        b"x\r\n",
        b" 5\r\nhello",
        b"+5\r\nhello",
        b"-1\r\n",
        b"0x5\r\nhello",
        b"5_0\r\nhello",
        b"5 5\r\nhello",
        b"5\nhello\r\n",
        b"5\r;a\r\nhello",
        b"5;a\x00b\r\nhello",
        b"5;a\rb\r\nhello",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\r\n\r\n5\r\nhello",
        b"1" * 16 + b"\r\n",
        b"0\r\nno field\r\n\r\n",
        b"0\r\n folded: line\r\n\r\n",
        b"0\r\nname : value\r\n\r\n",
        b"0\r\na: b\rc: d\r\n\r\n",
        b"0\r\na: b\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_broken_framing_is_refused(sent: bytes, size: int) -> None:
    body = ChunkedBody()
    with pytest.raises(BodyError):
        _taken(body, [sent[at : at + size] for at in range(0, len(sent), size)])


def test_what_is_no_data_has_bounds() -> None:
    with pytest.raises(BodyError):
        ChunkedBody().take(b"5;" + b"a" * LINE_LIMIT_BYTES)
    with pytest.raises(BodyError):
        _taken(ChunkedBody(), [b"5;" + b"a" * 1000] * 6)
    long_extension = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    with pytest.raises(BodyError):
        ChunkedBody().take(long_extension * (OVERHEAD_LIMIT_BYTES // 900))
    long_trailer = b"a: " + b"b" * 1000 + b"\r\n"
    with pytest.raises(BodyError):
        ChunkedBody().take(b"0\r\n" + long_trailer * (TRAILER_LIMIT_BYTES // 900))


def test_parts_are_views_of_what_was_received() -> None:
    data = b"4\r\nbody\r\n4\r\nmore\r\n0\r\n\r\n"
    parts, rest = ChunkedBody().take(data)
    assert [bytes(part) for part in parts] == [b"body", b"more"]
    assert all(part.obj is data for part in parts)
    assert rest == b""
    assert joined(SizedBody(len(data)).take(data)[0]) is data
