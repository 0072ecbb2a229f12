"""Signals by name or number, as the Engine API spells them."""

from __future__ import annotations

import signal

from flotilla_core.errors import InvalidArgumentError

_REALTIME_MIN, _REALTIME_MAX = 34, 64
_LIMIT = 65


def _by_name() -> dict[str, int]:
    names = {member.name.removeprefix("SIG"): int(member) for member in signal.Signals}
    names.update({"CLD": signal.SIGCHLD, "UNUSED": signal.SIGSYS, "STKFLT": 16})
    names["RTMIN"], names["RTMAX"] = _REALTIME_MIN, _REALTIME_MAX
    for offset in range(1, 16):
        names[f"RTMIN+{offset}"] = _REALTIME_MIN + offset
    for offset in range(1, 15):
        names[f"RTMAX-{offset}"] = _REALTIME_MAX - offset
    return names


_NUMBERS = _by_name()


def number_of(text: str) -> int:
    """Return the signal's number; ``SIGTERM``, ``term`` and ``15`` are the same.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if text.isdigit():
        number = int(text)
        if number == 0:
            raise InvalidArgumentError(f"invalid signal: {text}")
        if number >= _LIMIT or number not in _NUMBERS.values():
            raise InvalidArgumentError(f"the linux daemon does not support signal {number}")
        return number
    found = _NUMBERS.get(text.upper().removeprefix("SIG"))
    if found is None:
        raise InvalidArgumentError(f"invalid signal: {text}")
    return int(found)
