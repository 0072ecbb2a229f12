"""The image configuration: Docker's image JSON and the OCI image configuration are one form."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci import digests, platforms

_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ImageConfig:
    """An image's configuration as it came, so that its digest, the image's id, stays the same."""

    raw: bytes
    value: dict[str, Any]

    @property
    def id(self) -> str:
        """The image's id: the digest of the configuration."""
        return digests.digest_of(self.raw)

    @property
    def diff_ids(self) -> list[str]:
        """The digests of the uncompressed layers, lowest first."""
        rootfs = self.value.get("rootfs") or {}
        return [str(diff_id) for diff_id in rootfs.get("diff_ids") or []]

    @property
    def platform(self) -> platforms.Platform:
        """The platform that the image is for."""
        return platforms.normalized(
            str(self.value.get("os") or "linux"),
            str(self.value.get("architecture") or ""),
            str(self.value.get("variant") or ""),
        )

    @property
    def created(self) -> datetime:
        """When it was made; year 1 if it does not say."""
        return parse_time(str(self.value.get("created") or ""))

    @property
    def runtime(self) -> dict[str, Any]:
        """How its containers run: the `config` object (Cmd, Env, …)."""
        return dict(self.value.get("config") or {})

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels."""
        return dict(self.runtime.get("Labels") or {})

    @property
    def history(self) -> list[dict[str, Any]]:
        """How each step came about, lowest first."""
        return list(self.value.get("history") or [])


def parse(raw: bytes) -> ImageConfig:
    """Parse an image configuration.

    Raises:
        InvalidArgumentError: If it is none.
    """
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise InvalidArgumentError(f"invalid image configuration: {error}") from error
    if not isinstance(value, dict):
        raise InvalidArgumentError("invalid image configuration: not an object")
    if not isinstance(value.get("rootfs"), dict):
        raise InvalidArgumentError("invalid image JSON, no RootFS key")
    for diff_id in (value["rootfs"].get("diff_ids")) or []:
        digests.validated(str(diff_id))
    return ImageConfig(raw, value)


def made_from(value: dict[str, Any]) -> ImageConfig:
    """Return the configuration of a new image."""
    return parse(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def parse_time(text: str) -> datetime:
    """Parse RFC 3339 with up to nine decimals; year 1 if there is no time."""
    if not text:
        return _ZERO_TIME
    head, dot, tail = text.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[: min(digits, 6)]}{tail[digits:]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _ZERO_TIME
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def format_time(moment: datetime) -> str:
    """Return the time as Docker writes it: RFC 3339 in UTC, no needless decimals."""
    moment = moment.astimezone(UTC)
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}".zfill(19) + f"{fraction}Z"
