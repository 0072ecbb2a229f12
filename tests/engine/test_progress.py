"""Tests of ``flotilla_engine.progress``."""

import json

from flotilla_engine import progress


def test_bar_is_drawn_as_dockerd_draws_it() -> None:
    bar = progress.progress_bar(500_000, 1_000_000)
    assert bar == "[" + "=" * 25 + ">" + " " * 25 + "]    500kB/1MB"
    assert progress.progress_bar(5, 0) == "      5B"
    assert progress.progress_bar(0, 0) == ""


def test_lines_are_json_ended_by_crlf() -> None:
    lines = [
        progress.status("Pulling from library/busybox", id="latest"),
        progress.advance("Downloading", "abc", 1, 2),
        progress.done("Pull complete", "abc"),
        progress.stream("Loaded image: x\n"),
        progress.aux({"Tag": "x"}),
    ]
    assert all(line.endswith(b"}\r\n") for line in lines)
    assert json.loads(lines[1])["progressDetail"] == {"current": 1, "total": 2}
    assert json.loads(lines[2]) == {"status": "Pull complete", "progressDetail": {}, "id": "abc"}


def test_errors_are_told_twice_for_old_and_new_clients() -> None:
    assert json.loads(progress.error("nope")) == {
        "errorDetail": {"message": "nope"},
        "error": "nope",
    }
