"""A log line on its way to somewhere else, and what it says of its container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flotilla_runtime_agent.logs.records import parse, time_ns

STDERR = 2
_PART_LIMIT = 16 << 10  # as dockerd splits long lines


@dataclass(frozen=True)
class Origin:
    """Who has written the lines.

    Attributes:
        extra: Labels and variables that the log options ask for.
    """

    container_id: str
    container_name: str
    image_id: str
    image_name: str
    command: str
    created: str
    tag: str
    extra: Mapping[str, str]


@dataclass(frozen=True)
class Line:
    """One line, without its newline."""

    time_ns: int
    stream: int  # 1 out, 2 err
    content: bytes

    @property
    def source(self) -> str:
        """Name of the stream."""
        return "stderr" if self.stream == STDERR else "stdout"

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode(errors="replace")


class Joiner:
    """Puts the parts of long lines together again, up to a limit."""

    def __init__(self) -> None:
        """Nothing is open."""
        self._open: dict[int, bytes] = {}

    def lines(self, chunk: bytes) -> Iterator[Line]:
        """Yield the lines that whole records come to; parts are kept for the next chunk."""
        for raw in chunk.split(b"\n")[:-1]:
            record = parse(raw)
            if record is None:
                continue
            content = self._open.pop(record.stream, b"") + record.content
            if record.is_partial and len(content) < _PART_LIMIT:
                self._open[record.stream] = content
            else:
                yield Line(time_ns(record.time), record.stream, content)
