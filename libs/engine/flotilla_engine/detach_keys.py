"""The key sequence that leaves an attached terminal, as text (moby ``term.ToBytes``)."""

from flotilla_core.errors import InvalidArgumentError

DEFAULT_KEYS = b"\x10\x11"
_NAMED = {f"ctrl-{chr(96 + code)}": code for code in range(1, 27)} | {
    "ctrl-@": 0,
    "ctrl-[": 27,
    "ctrl-\\": 28,
    "ctrl-]": 29,
    "ctrl-^": 30,
    "ctrl-_": 31,
    "DEL": 127,
}


def parse_keys(text: str, *, called: str = "detach") -> bytes:
    """Return the bytes of a sequence such as ``ctrl-a,b``; empty text gives the default.

    Args:
        text: Names and characters with commas between them.
        called: What dockerd's refusal calls them.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if not text:
        return DEFAULT_KEYS
    codes = [_code(key) for key in text.split(",")]
    if None in codes:
        raise InvalidArgumentError(f"Invalid {called} keys ({text}) provided")
    return bytes(code for code in codes if code is not None)


def _code(key: str) -> int | None:
    return ord(key) if len(key) == 1 and key.isascii() else _NAMED.get(key)
