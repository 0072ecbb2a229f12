"""Tests of ``flotilla_engine.stdcopy``."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla_engine.stdcopy import STDERR, STDOUT, Demultiplexer, frame

frames = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1)))


@settings(deadline=None, derandomize=True)
@given(frames, st.integers(min_value=1, max_value=50))
def test_frames_survive_any_cutting(parts: list[tuple[int, bytes]], size: int) -> None:
    wire = b"".join(frame(stream, payload) for stream, payload in parts)
    demultiplexer = Demultiplexer()
    pieces = [
        piece
        for start in range(0, len(wire), size)
        for piece in demultiplexer.feed(wire[start : start + size])
    ]
    for stream in (STDOUT, STDERR):
        assert b"".join(data for number, data in pieces if number == stream) == b"".join(
            data for number, data in parts if number == stream
        )
    assert demultiplexer.is_between_frames


def test_empty_frames_are_skipped() -> None:
    wire = frame(STDOUT, b"") + frame(STDERR, b"x")
    assert Demultiplexer().feed(wire) == [(STDERR, b"x")]


def test_other_streams_are_refused() -> None:
    with pytest.raises(ValueError, match="Unrecognized stream: 7"):
        Demultiplexer().feed(b"\x07\0\0\0\0\0\0\x01x")
