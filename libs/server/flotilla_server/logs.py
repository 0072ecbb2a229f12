"""Structured logs on stderr: one line per record, as text or JSON, and never a secret."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["text", "json"]

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET_NAME = re.compile(
    r"passw|secret|token|credential|authorization|registry.?auth|nkey|seed", re.I
)
_SECRET_TEXT = (
    (re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*@"), r"\1:***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (
        re.compile(
            r'(?i)("?(?:password|identitytoken|registrytoken|secret|auth)"?\s*[:=]\s*)("[^"]*"|[^\s,}]+)'
        ),
        r"\1***",
    ),
)


def configure(service: str, *, level: str = "info", log_format: LogFormat = "text") -> None:
    """Send the process's logs to stderr.

    Args:
        service: Named in every record.
        level: The lowest level that is written.
        log_format: `text` for people, `json` for machines.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter(service) if log_format == "json" else _TextFormatter(service)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("alembic", "httpx", "httpcore", "nats", "uvicorn.error"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def redacted(text: str) -> str:
    """Return the text without passwords, tokens and credentials of URLs."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what was given as `extra`, secrets masked by name."""
    return {
        name: "***" if _SECRET_NAME.search(name) else value
        for name, value in vars(record).items()
        if name not in _KNOWN and not name.startswith("_")
    }


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _TextFormatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_moment(record)} {record.levelname:<7} {self._service} {record.getMessage()}"
        for name, value in _fields(record).items():
            line += f" {name}={value}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redacted(line)


class _JsonFormatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        for name, value in _fields(record).items():
            entry[name] = redacted(value) if isinstance(value, str) else value
        if record.exc_info:
            entry["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(entry, default=str)
