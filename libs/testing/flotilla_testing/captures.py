"""What passes a network interface: who talks to whom by UDP, and whether something is readable."""

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_EVERY_PROTOCOL = 3
_LOOK_EVERY_S = 0.2
_UDP = 17


class Capture:
    """Reads IPv4 frames from entering to leaving the context.

    Attributes:
        frames: How many there were.
        udp_ports: Destinations of datagrams.
        has_marker: Whether a frame had the marker.
    """

    def __init__(
        self, packets: socket.socket, interface: str, marker: bytes, between: tuple[str, ...] = ()
    ) -> None:
        """Read from a socket of the family AF_PACKET, which is closed at the end.

        Args:
            packets: The socket, opened in the interface's network namespace.
            interface: Its name.
            marker: What to look for.
            between: If given, only frames from one to another of these addresses count.
        """
        self.frames = 0
        self.udp_ports: set[int] = set()
        self.has_marker = False
        self._packets = packets
        self._interface = interface
        self._marker = marker
        self._between = {socket.inet_aton(address) for address in between}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        """Begin to read."""
        self._packets.bind((self._interface, _EVERY_PROTOCOL))
        self._packets.settimeout(_LOOK_EVERY_S)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join()
        self._packets.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                self._look_at(self._packets.recv(65535))

    def _look_at(self, frame: bytes) -> None:
        if frame[12:14] != b"\x08\x00":
            return
        if self._between and not {frame[26:30], frame[30:34]} <= self._between:
            return
        self.frames += 1
        self.has_marker = self.has_marker or self._marker in frame
        if frame[23] == _UDP:
            self.udp_ports.add(struct.unpack_from("!H", frame, 14 + (frame[14] & 15) * 4 + 2)[0])
