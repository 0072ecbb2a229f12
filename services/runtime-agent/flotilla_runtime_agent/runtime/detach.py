"""The key sequence that leaves an attached terminal (``ctrl-p,ctrl-q``)."""

from __future__ import annotations


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
