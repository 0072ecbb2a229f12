r"""Progress of long operations: JSON objects, one a line, each ended by ``\r\n`` as in dockerd.

The fields ``progress`` and ``error`` are deprecated since API 1.48, but dockerd sends them to
every client up to 1.51, so these lines are the same for all versions.
"""

import json
from typing import Any

from flotilla_engine.sizes import human_size

_BAR_WIDTH = 50


def status(text: str, *, id: str = "") -> bytes:
    """Return a line that says something, about a layer if id is given."""
    fields: dict[str, Any] = {"status": text}
    if id:
        fields["id"] = id
    return _line(fields)


def advance(text: str, id: str, current: int, total: int) -> bytes:
    """Return a line that says how far something is, in bytes; total 0: not known."""
    detail = {key: value for key, value in (("current", current), ("total", total)) if value}
    fields: dict[str, Any] = {"status": text, "progressDetail": detail}
    bar = progress_bar(current, total)
    if bar:
        fields["progress"] = bar
    fields["id"] = id
    return _line(fields)


def done(text: str, id: str) -> bytes:
    """Return the line of a finished step: an empty ``progressDetail`` takes the bar away."""
    return _line({"status": text, "progressDetail": {}, "id": id})


def stream(text: str) -> bytes:
    """Return a line of output, of load and build."""
    return _line({"stream": text})


def aux(value: Any) -> bytes:
    """Return a line for programs, not shown to people."""
    return _line({"aux": value})


def error(message: str, *, code: int = 0) -> bytes:
    """Return the line that ends an operation that failed after its 200 was sent."""
    detail: dict[str, Any] = {"code": code} if code else {}
    return _line({"errorDetail": detail | {"message": message}, "error": message})


def progress_bar(current: int, total: int) -> str:
    """Draw a bar as dockerd does for a terminal of unknown width."""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{human_size(current):>8}"
    filled = min(int(current / total * 100) // 2, _BAR_WIDTH)
    numbers = f"{human_size(current):>8}"
    if current <= total:
        numbers += f"/{human_size(total)}"
    return f"[{'=' * filled}>{' ' * (_BAR_WIDTH - filled)}] {numbers}"


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\r\n"
