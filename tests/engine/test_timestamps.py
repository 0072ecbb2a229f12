"""Tests of ``flotilla_engine.timestamps``, ``durations`` and ``sizes``."""

from datetime import UTC, datetime

import pytest

from flotilla_engine.durations import human_duration, parse_duration
from flotilla_engine.sizes import binary_size, human_size
from flotilla_engine.timestamps import (
    parse_moment,
    parse_unix,
    rfc3339_nano,
    rfc3339_nano_fixed,
    rfc3339_nano_of_ns,
    unix_ns,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
NOW_NS = 1_767_323_045_600_000_000


def test_moments_lose_trailing_zeros_as_in_go() -> None:
    assert rfc3339_nano(NOW) == "2026-01-02T03:04:05.6Z"
    assert rfc3339_nano(NOW.replace(microsecond=0)) == "2026-01-02T03:04:05Z"
    assert rfc3339_nano(None) == "0001-01-01T00:00:00Z"
    assert rfc3339_nano_of_ns(NOW_NS + 7) == "2026-01-02T03:04:05.600000007Z"
    assert rfc3339_nano_fixed(NOW_NS) == "2026-01-02T03:04:05.600000000Z"
    assert unix_ns(NOW) == NOW_NS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1767323045.6", NOW_NS),
        ("1767323045.600000000", NOW_NS),
        ("0", 0),
        ("2026-01-02T03:04:05.6Z", NOW_NS),
        ("2026-01-02T04:04:05.6+01:00", NOW_NS),
        ("2026-01-02T03:04:05", NOW_NS - 600_000_000),
        ("2026-01-02", 1_767_312_000_000_000_000),
        ("10m", NOW_NS - 600_000_000_000),
        ("1h1.5s", NOW_NS - 3_601_500_000_000),
    ],
)
def test_since_and_until_are_read_in_all_their_forms(text: str, expected: int) -> None:
    assert parse_moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "2026-13-01", "5 m", "9" * 30, "-", "1h?"])
def test_other_texts_are_no_moments(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - Go has many texts
        parse_moment(text, NOW)


@pytest.mark.parametrize("text", ["99999999999999", "-99999999999999", "9" * 19])
def test_moments_beyond_the_calendar_are_its_ends(text: str) -> None:
    nanoseconds = parse_unix(text)
    assert rfc3339_nano_fixed(nanoseconds)[:4] in ("0001", "9999")
    assert parse_moment(text, NOW) == nanoseconds


def test_durations_are_read_as_in_go() -> None:
    assert parse_duration("-1.5h") == -5_400_000_000_000
    assert parse_duration("100ms5us") == 100_005_000
    with pytest.raises(ValueError, match='time: missing unit in duration "3"'):
        parse_duration("3")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (86400, "24 hours"),
        (86400 * 3, "3 days"),
        (86400 * 20, "2 weeks"),
        (86400 * 90, "3 months"),
        (86400 * 800, "2 years"),
    ],
)
def test_durations_are_told_as_docker_tells_them(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_sizes_are_told_as_docker_tells_them() -> None:
    assert human_size(1_982_457) == "1.982MB"
    assert human_size(999) == "999B"
    assert binary_size(6 * 2**20) == "6MiB"
