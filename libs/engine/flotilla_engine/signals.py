"""Signals by name or number, as Docker reads them (moby ``sys/signal``, Linux)."""

import signal

from flotilla_core.errors import InvalidArgumentError

_RTMIN, _RTMAX = 34, 64


def _names() -> dict[str, int]:
    names = {member.name.removeprefix("SIG"): int(member) for member in signal.Signals}
    names |= {"CLD": 17, "IOT": 6, "POLL": 29, "STKFLT": 16, "UNUSED": 31}
    names |= {"RTMIN": _RTMIN, "RTMAX": _RTMAX}
    names |= {f"RTMIN+{step}": _RTMIN + step for step in range(1, 16)}
    names |= {f"RTMAX-{step}": _RTMAX - step for step in range(1, 15)}
    return names


_BY_NAME = _names()


def parse_signal(text: str) -> int:
    """Return the number of ``SIGTERM``, ``term`` or ``15``.

    Raises:
        InvalidArgumentError: ``invalid signal: …``, as dockerd says.
    """
    name = text.upper().removeprefix("SIG")
    if name in _BY_NAME:
        return _BY_NAME[name]
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    raise InvalidArgumentError(f"invalid signal: {text}")
