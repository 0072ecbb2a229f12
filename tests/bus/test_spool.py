"""Tests of flotilla_bus.spool."""

import os
from pathlib import Path

import pytest

from flotilla_bus import spool
from flotilla_bus.spool import Spool


def lines(one: Spool) -> list[bytes]:
    return one.read(one.begin, 1000)[0]


def test_lines_are_kept_until_done(tmp_path: Path) -> None:
    one = Spool(tmp_path)
    for line in (b"a", b"b", b"c"):
        one.add(line)
    first, position = one.read(one.begin, 2)
    assert first == [b"a", b"b"]
    one.done(position)
    assert lines(one) == [b"c"]
    one.close()
    again = Spool(tmp_path)
    again.add(b"d")
    assert lines(again) == [b"a", b"b", b"c", b"d"]
    again.done(again.end)
    assert again.is_empty
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0]
    end = again.end
    again.add(b"e")
    assert again.end > end
    assert lines(again) == [b"e"]
    again.close()


def test_torn_line_is_left_out(tmp_path: Path) -> None:
    one = Spool(tmp_path)
    one.add(b"whole")
    one.close()
    with next(tmp_path.iterdir()).open("ab") as file:
        file.write(b"to")
    again = Spool(tmp_path)
    again.add(b"next")
    assert lines(again) == [b"whole", b"next"]
    again.done(again.end)
    assert again.is_empty
    again.close()


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 10)
    monkeypatch.setattr(spool, "SEGMENTS_AT_MOST", 3)
    one = Spool(tmp_path)
    for number in range(10):
        one.add(b"%d-123456789" % number)
    assert lines(one) == [b"%d-123456789" % number for number in (7, 8, 9)]
    assert len(list(tmp_path.iterdir())) == 3
    one.close()


def test_full_disk_costs_the_new_line_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Spool(tmp_path)
    one.add(b"first")
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:3]))
        with pytest.raises(OSError, match="No space left"):
            one.add(b"second")
    one.add(b"third")
    assert lines(one) == [b"first", b"third"]
    one.done(one.end)
    assert one.is_empty
    one.close()
