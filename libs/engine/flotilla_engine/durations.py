"""Go's durations: parsing them, and telling them to people as ``docker ps`` does."""

import re

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)
_UNIT = re.compile(r"[^0-9.]+")
_INT64_MAX = 2**63 - 1


def parse_duration(text: str) -> int:
    """Return a duration such as ``1h30m`` or ``-1.5s`` in nanoseconds (Go's ``ParseDuration``).

    Raises:
        ValueError: With Go's text.
    """
    rest = text
    sign = 1
    if rest[:1] in ("+", "-"):
        sign = -1 if rest[0] == "-" else 1
        rest = rest[1:]
    if rest == "0":
        return 0
    total = 0
    position = 0
    for part in _PART.finditer(rest):
        if part.start() != position:
            break
        total += _scaled(part.group(1), _UNITS_NS[part.group(2)])
        position = part.end()
    if left := _NUMBER.match(rest, position):
        unit = _UNIT.match(rest, left.end())
        wrong = f'unknown unit "{unit[0]}"' if unit else "missing unit"
        raise ValueError(f'time: {wrong} in duration "{text}"')
    if not rest or position != len(rest) or total > _INT64_MAX:
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * total


def _scaled(number: str, unit_ns: int) -> int:
    whole, _, fraction = number.partition(".")
    scaled = int(whole or "0") * unit_ns
    if fraction:
        scaled += int(fraction) * unit_ns // 10 ** len(fraction)
    return scaled


def human_duration(seconds: float) -> str:
    """Tell a duration roughly: ``About a minute``, ``3 hours`` (go-units ``HumanDuration``)."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    return _long(hours)


def _long(hours: int) -> str:
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"
