"""The key sequence that leaves an attached terminal (``ctrl-p,ctrl-q``)."""

from __future__ import annotations

from flotilla_core.errors import InvalidArgumentError

DEFAULT_KEYS = b"\x10\x11"
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """Return the bytes of a sequence such as ``ctrl-a,b``; empty text gives the default.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if not text:
        return DEFAULT_KEYS
    return bytes(_key(key, text) for key in text.split(","))


def _key(key: str, text: str) -> int:
    if len(key) == 1 and ord(key) < 128:
        return ord(key)
    name = key.lower()
    if name.startswith("ctrl-") and len(name) == len("ctrl-x"):
        last = name[-1]
        if "a" <= last <= "z":
            return ord(last) - ord("a") + 1
        if last in _CONTROL:
            return _CONTROL[last]
    raise InvalidArgumentError(f"Invalid detach keys ({text}) provided")


class DetachScanner:
    """Finds the sequence in what a client types; the keys of a partial match are held back."""

    def __init__(self, keys: bytes) -> None:
        """Look for these keys."""
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what goes to the process, and whether the client has detached."""
        if not self._matched and self._keys[:1] not in data:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._matched = 0
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False
