"""Platforms and which of an index's manifests fits one (containerd's rules, in short)."""

import json
import platform as host_platform
from collections.abc import Iterable
from dataclasses import dataclass

from flotilla_core.errors import InvalidArgumentError

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "armhf": "arm",
    "armel": "arm",
}
_ARM_VARIANTS = {"armhf": "v7", "armv7l": "v7", "armv6l": "v6", "armel": "v6"}


@dataclass(frozen=True)
class Platform:
    """An operating system, an architecture and its variant (OCI image index, platform)."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        """Return `os/architecture[/variant]`."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def normalized(os: str, architecture: str, variant: str = "") -> Platform:
    """Return the platform in Go's names, with the default variants left out or filled in."""
    os, architecture, variant = os.lower(), architecture.lower(), variant.lower()
    if architecture in _ARM_VARIANTS and not variant:
        variant = _ARM_VARIANTS[architecture]
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if architecture == "arm64" and variant in ("8", "v8"):
        variant = ""
    if architecture == "amd64" and variant == "v1":
        variant = ""
    if architecture == "arm":
        variant = {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"}.get(variant, variant)
    return Platform(os, architecture, variant)


def host() -> Platform:
    """Return this machine's platform."""
    return normalized("linux", host_platform.machine())


def parse(text: str) -> Platform:
    """Parse `os`, `arch`, `os/arch` or `os/arch/variant`, or the JSON form of API 1.48.

    Raises:
        InvalidArgumentError: With containerd's text, as dockerd passes it on.
    """
    if text.startswith("{"):
        return _from_json(text)
    parts = text.split("/")
    for part in parts:
        if not part or not all(c.isalnum() or c in "_-." for c in part):
            raise InvalidArgumentError(
                f'"{part}" is an invalid component of "{text}": platform specifier component '
                'must match "^[A-Za-z0-9_-]+$": invalid argument'
            )
    match parts:
        case [os] if os.lower() in ("linux", "windows", "darwin", "freebsd"):
            return Platform(os.lower(), host().architecture, host().variant)
        case [architecture] if architecture.lower() in {
            *_ARCHITECTURES,
            *_ARCHITECTURES.values(),
            "ppc64le",
            "s390x",
            "riscv64",
            "mips64le",
        }:
            return normalized("linux", architecture)
        case [unknown]:
            raise InvalidArgumentError(
                f'"{unknown}": unknown operating system or architecture: invalid argument'
            )
        case [os, architecture]:
            return normalized(os, architecture)
        case [os, architecture, variant]:
            return normalized(os, architecture, variant)
        case _:
            raise InvalidArgumentError(
                f'"{text}": cannot parse platform specifier: invalid argument'
            )


def satisfies(have: Platform, want: Platform) -> bool:
    """Tell whether what is built for `have` runs where `want` is asked for."""
    return have in _acceptable(want)


def best(candidates: Iterable[Platform | None], want: Platform) -> int | None:
    """Return the position of the best fitting candidate, or None."""
    listed = list(candidates)
    for wanted in _acceptable(want):
        for position, candidate in enumerate(listed):
            if candidate == wanted:
                return position
    return None


def _acceptable(want: Platform) -> list[Platform]:
    """Return what runs on `want`, the best first."""
    versions: list[str] = []
    if want.architecture == "arm":
        newest = int(want.variant.removeprefix("v") or 7) if want.variant[1:].isdigit() else 7
        versions = [f"v{version}" for version in range(newest, 4, -1)]
    elif want.architecture == "amd64" and want.variant[1:].isdigit():
        versions = [f"v{version}" for version in range(int(want.variant[1:]), 1, -1)] + [""]
    elif want.architecture == "arm64":
        versions = ["", want.variant]
    else:
        versions = [want.variant]
    return [normalized(want.os, want.architecture, version) for version in versions]


def _from_json(text: str) -> Platform:
    try:
        value = json.loads(text)
        os, architecture = str(value["os"]), str(value["architecture"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(f"failed to parse platform: {error}") from error
    return normalized(os, architecture, str(value.get("variant", "")))
