"""Versions of the Docker Engine API that Flotilla speaks."""

import re

Version = tuple[int, int]

MINIMUM: Version = (1, 24)
MAXIMUM: Version = (1, 51)

_FORM = re.compile(r"v?(\d{1,4})\.(\d{1,4})", re.ASCII)


def parse_version(text: str) -> Version:
    """Read ``1.45`` or ``v1.45``.

    Raises:
        ValueError: If it is no version.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid API version: {text}")
    return int(match.group(1)), int(match.group(2))


def version_text(version: Version) -> str:
    """Write a version as ``1.45``."""
    return f"{version[0]}.{version[1]}"
