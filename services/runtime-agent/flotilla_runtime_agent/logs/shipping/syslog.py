"""Syslog messages: RFC 3164, RFC 5424 and what ``/dev/log`` expects."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime

from flotilla_core.errors import InvalidArgumentError
from flotilla_runtime_agent.logs.shipping.message import STDERR, Line, Origin

_FACILITIES = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - "
    "local0 local1 local2 local3 local4 local5 local6 local7"
)
FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_INFO, _ERROR = 6, 3


def facility(name: str) -> int:
    """Return a facility's number, by name or number. Raises: InvalidArgumentError."""
    names = _FACILITIES.split()
    if not name:
        return names.index("daemon")
    if name in names and name != "-":
        return names.index(name)
    if name.isdigit() and int(name) < len(names):
        return int(name)
    raise InvalidArgumentError("invalid syslog facility")


def encode(line: Line, origin: Origin, *, chosen: str, number: int) -> bytes:
    """Return one message, without framing."""
    priority = number * 8 + (_ERROR if line.stream == STDERR else _INFO)
    moment = datetime.fromtimestamp(line.time_ns / 1e9, UTC).astimezone()
    host, tag, pid = platform.node(), origin.tag, os.getpid()
    match chosen:
        case "rfc5424":
            stamp = moment.isoformat(timespec="seconds")
            head = f"<{priority}>1 {stamp} {host} {tag} {pid} {tag} - "
        case "rfc5424micro":
            stamp = moment.isoformat(timespec="microseconds")
            head = f"<{priority}>1 {stamp} {host} {tag} {pid} {tag} - "
        case "rfc3164":
            head = f"<{priority}>{_stamp(moment)} {host} {tag}[{pid}]: "
        case _:
            head = f"<{priority}>{_stamp(moment)} {tag}[{pid}]: "
    return head.encode() + line.content


def _stamp(moment: datetime) -> str:
    return f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S}"


def framed(message: bytes, *, counts_octets: bool) -> bytes:
    """Frame for a stream: by a newline, or by a count (RFC 5425)."""
    return b"%d %b" % (len(message), message) if counts_octets else message + b"\n"
