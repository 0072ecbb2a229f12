"""Moments on the wire: RFC 3339 with nanoseconds as Go writes it, and the forms clients send."""

import re
from datetime import UTC, datetime, timedelta, timezone

from flotilla_engine.durations import parse_duration

ZERO = "0001-01-01T00:00:00Z"
"""Go's zero time: not yet."""

_NS = 1_000_000_000
_FIRST_NS = -62_135_596_800 * _NS  # 0001-01-01
_LAST_NS = 253_402_300_799 * _NS  # 9999-12-31T23:59:59
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?"
    r"(Z|[+-]\d\d:\d\d)?",
    re.ASCII,
)
_UNIX = re.compile(r"([+-]?\d+)(?:\.(\d*))?", re.ASCII)


def rfc3339_nano(moment: datetime | None) -> str:
    """Write a moment as Go's ``RFC3339Nano`` in UTC: no trailing zeros in the fraction."""
    if moment is None or moment.year <= 1:
        return ZERO
    utc = moment.astimezone(UTC)
    text = f"{utc:%Y-%m-%dT%H:%M:%S}".rjust(19, "0")
    if utc.microsecond:
        text += f".{utc.microsecond:06}".rstrip("0")
    return text + "Z"


def rfc3339_nano_of_ns(nanoseconds: int) -> str:
    """Write nanoseconds since the epoch as Go's ``RFC3339Nano`` in UTC."""
    seconds, fraction = divmod(nanoseconds, _NS)
    text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}".rjust(19, "0")
    if fraction:
        text += f".{fraction:09}".rstrip("0")
    return text + "Z"


def rfc3339_nano_fixed(nanoseconds: int) -> str:
    """Write nanoseconds since the epoch with all nine digits, as lines of logs are stamped."""
    seconds, fraction = divmod(nanoseconds, _NS)
    text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}".rjust(19, "0")
    return f"{text}.{fraction:09}Z"


def unix_ns(moment: datetime) -> int:
    """Return a moment as nanoseconds since the epoch, exactly."""
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds) * 1_000


def parse_unix(text: str) -> int:
    """Return ``seconds[.fraction]`` as nanoseconds since the epoch.

    What lies beyond the years 1 to 9999 is taken for their beginning or end.

    Raises:
        ValueError: With the text of dockerd's ``timestamp.ParseTimestamps``.
    """
    match = _UNIX.fullmatch(text)
    if match is None or len(match.group(1)) > 19:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    fraction = (match.group(2) or "")[:9].ljust(9, "0")
    return min(max(_FIRST_NS, int(match.group(1)) * _NS + int(fraction)), _LAST_NS)


def parse_moment(text: str, now: datetime) -> int:
    """Return what ``since`` and ``until`` mean, as nanoseconds since the epoch.

    Takes unix seconds with a fraction, RFC 3339 (also without zone, seconds or time: UTC), and
    Go durations, which are counted back from now.

    Raises:
        ValueError: If it is none of these.
    """
    if _UNIX.fullmatch(text):
        return parse_unix(text)
    match = _RFC3339.fullmatch(text)
    if match:
        return _of_calendar(match)
    try:
        return unix_ns(now) - parse_duration(text)
    except ValueError:
        raise ValueError(f'parsing time "{text}": cannot parse as a time or duration') from None


def _of_calendar(match: re.Match[str]) -> int:
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    zone = match.group(8) or "Z"
    offset = timedelta()
    if zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        if zone[0] == "-":
            offset = -offset
    moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset))
    return unix_ns(moment) + int((match.group(7) or "").ljust(9, "0"))
