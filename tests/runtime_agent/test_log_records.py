"""The log format's renderer (``logs/records.py``)."""

from __future__ import annotations

from flotilla_engine.stdcopy import frame
from flotilla_runtime_agent.logs.records import Renderer, parse, stamp_of, time_ns

_A = b"2026-01-02T03:04:05.000000001"
_B = b"2026-01-02T03:04:06.000000002"


def _record(stamp: bytes, kind: bytes, content: bytes) -> bytes:
    return stamp + b"+00:00 " + kind + b" " + content + b"\n"


def test_neighbours_of_a_stream_share_a_frame() -> None:
    chunk = (
        _record(_A, b"stdout F", b"one")
        + _record(_A, b"stdout F", b"two")
        + _record(_B, b"stderr F", b"bad")
    )
    assert Renderer().render(chunk) == frame(1, b"one\ntwo\n") + frame(2, b"bad\n")
    assert Renderer(stderr=False).render(chunk) == frame(1, b"one\ntwo\n")


def test_parts_of_a_line_are_one_line() -> None:
    chunk = _record(_A, b"stdout P", b"be") + _record(_A, b"stdout F", b"gin")
    assert Renderer(mux=False).render(chunk) == b"begin\n"
    stamped = Renderer(mux=False, timestamps=True, details=b"a=b ")
    assert stamped.render(_record(_A, b"stdout P", b"be")) == b""
    assert stamped.render(_record(_B, b"stdout F", b"gin")) == _A + b"Z a=b begin\n"
    assert stamped.render(_record(_B, b"stdout F", b"x")) == _B + b"Z a=b x\n"


def test_nothing_comes_between_the_parts_of_a_line() -> None:
    renderer = Renderer()
    chunk = _record(_A, b"stdout P", b"be") + _record(_A, b"stderr F", b"bad")
    assert renderer.render(chunk) == frame(2, b"bad\n")
    assert renderer.render(_record(_B, b"stdout F", b"gin")) == frame(1, b"begin\n")
    assert renderer.finish() == b""


def test_parts_are_not_held_for_ever() -> None:
    renderer = Renderer(mux=False, timestamps=True)
    part = _record(_A, b"stdout P", b"x" * 9000)
    assert renderer.render(part) == b""
    assert renderer.render(part) == _A + b"Z " + b"x" * 18000
    assert renderer.render(_record(_B, b"stdout P", b"y")) == b""
    assert renderer.finish() == b"y"


def test_since_and_until() -> None:
    chunk = _record(_A, b"stdout F", b"one") + _record(_B, b"stdout F", b"two")
    assert Renderer(mux=False, since=_B).render(chunk) == b"two\n"
    until = Renderer(mux=False, until=_A)
    assert (until.render(chunk), until.is_past) == (b"one\n", True)


def test_torn_records_are_left_out() -> None:
    chunk = b"garbage\n" + _record(_A, b"stdout F", b"one") + b"\n"
    assert Renderer(mux=False).render(chunk) == b"one\n"


def test_times_go_forth_and_back() -> None:
    record = parse(_record(_A, b"stderr F", b"x y")[:-1])
    assert record is not None
    assert (record.stream, record.content) == (2, b"x y")
    assert stamp_of(time_ns(_A)) == _A
