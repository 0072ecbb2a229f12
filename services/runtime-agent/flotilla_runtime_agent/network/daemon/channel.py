"""Frames of JSON over a unix socket, each with descriptors if need be."""

import json
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

_HEADER = struct.Struct("!IH")  # bytes of JSON, number of descriptors
_RECEIVE_BYTES = 256 * 1024
MAX_DESCRIPTORS = 200  # the kernel takes 253
TIMEOUT_S = 20

Document = dict[str, object]


def send(connection: socket.socket, document: object, descriptors: Sequence[int] = ()) -> None:
    """Send a frame."""
    body = json.dumps(document, separators=(",", ":")).encode()
    frame = _HEADER.pack(len(body), len(descriptors)) + body
    if descriptors:
        sent = socket.send_fds(connection, [frame], list(descriptors))
        frame = frame[sent:]
    connection.sendall(frame)


class Receiver:
    """Puts frames together as they arrive."""

    def __init__(self, connection: socket.socket) -> None:
        """Receive from this connection, which the caller closes."""
        self._connection = connection
        self._data = bytearray()
        self._descriptors: list[int] = []

    def receive(self) -> bool:
        """Take what is there; answers False at the end of the connection."""
        data, descriptors, _, _ = socket.recv_fds(self._connection, _RECEIVE_BYTES, MAX_DESCRIPTORS)
        self._data += data
        self._descriptors += descriptors
        return bool(data)

    def frames(self) -> Iterator[tuple[Document, list[int]]]:
        """Yield whole frames; descriptors belong to whoever gets them."""
        while len(self._data) >= _HEADER.size:
            size, count = _HEADER.unpack_from(self._data)
            end = _HEADER.size + size
            if len(self._data) < end:
                return
            document = json.loads(self._data[_HEADER.size : end])
            del self._data[:end]
            descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
            yield document, descriptors

    def next_frame(self) -> tuple[Document, list[int]]:
        """Wait for one frame.

        Raises:
            OSError: If the other side is gone, or silent for too long.
        """
        while True:
            for frame in self.frames():
                return frame
            if not self.receive():
                raise ConnectionResetError("the network daemon closed the connection")


class Place:
    """A socket's path that may be longer than the 108 bytes of its address."""

    def __init__(self, path: str) -> None:
        """Open the folder, which must exist."""
        self._name = Path(path).name
        self._folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def address(self, suffix: str = "") -> str:
        """Return an address for ``bind`` and ``connect``."""
        return f"/proc/self/fd/{self._folder}/{self._name}{suffix}"

    def close(self) -> None:
        """Close the folder."""
        os.close(self._folder)


def listening(path: str) -> socket.socket:
    """Return a socket that listens at a path from now on, whatever was there before."""
    place = Place(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    try:
        Path(place.address(".new")).unlink(missing_ok=True)
        made.bind(place.address(".new"))
        made.listen(8)
        Path(place.address(".new")).rename(place.address())
    except OSError:
        made.close()
        raise
    finally:
        os.umask(umask)
        place.close()
    return made


def connected(path: str) -> socket.socket:
    """Return a connection to whoever listens at a path.

    Raises:
        OSError: If nobody does.
    """
    place = Place(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(TIMEOUT_S)
        made.connect(place.address())
    except OSError:
        made.close()
        raise
    finally:
        place.close()
    return made
