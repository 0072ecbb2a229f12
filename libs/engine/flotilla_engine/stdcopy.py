"""The framing that carries stdout and stderr over one connection (Engine API, ``ContainerAttach``).

Each frame is a header of 8 bytes (the stream, three zeros, the length as big-endian uint32)
and its payload.
"""

from struct import Struct

STDIN, STDOUT, STDERR, SYSTEM_ERROR = range(4)

_HEADER = Struct(">B3xI")
HEADER_SIZE = _HEADER.size


def header(stream: int, length: int) -> bytes:
    """Return the header of a frame."""
    return _HEADER.pack(stream, length)


def frame(stream: int, payload: bytes) -> bytes:
    """Return the payload as one frame."""
    return _HEADER.pack(stream, len(payload)) + payload


class Demultiplexer:
    """Splits what comes, in any pieces, into (stream, payload); frames may come in parts."""

    def __init__(self) -> None:
        self._head = b""
        self._stream = STDOUT
        self._left = 0

    @property
    def is_between_frames(self) -> bool:
        """Whether all that was fed were whole frames."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the payloads in data, in order.

        Raises:
            ValueError: If a header names a stream that does not exist.
        """
        pieces = []
        view = memoryview(data)
        while view:
            if self._left:
                piece = bytes(view[: self._left])
                self._left -= len(piece)
                pieces.append((self._stream, piece))
                view = view[len(piece) :]
                continue
            missing = HEADER_SIZE - len(self._head)
            self._head += bytes(view[:missing])
            view = view[missing:]
            if len(self._head) == HEADER_SIZE:
                self._stream, self._left = _HEADER.unpack(self._head)
                self._head = b""
                if self._stream > SYSTEM_ERROR:
                    raise ValueError(f"Unrecognized stream: {self._stream}")
        return pieces
