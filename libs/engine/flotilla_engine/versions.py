"""Versions of the Docker Engine API that Flotilla speaks."""

Version = tuple[int, int]

MINIMUM: Version = (1, 24)
MAXIMUM: Version = (1, 51)


def version_text(version: Version) -> str:
    """Write a version as ``1.45``."""
    return f"{version[0]}.{version[1]}"
