"""Descriptors, manifests and indexes: OCI image spec 1.1 and Docker's schema 2."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci import digests, platforms

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCTETS = "application/octet-stream"

INDEXES = (DOCKER_INDEX, OCI_INDEX)
MANIFESTS = (DOCKER_MANIFEST, OCI_MANIFEST)
ACCEPTED = (*MANIFESTS, *INDEXES)
"""What to ask a registry for, in the order of preference."""

_IMAGE_CONFIGS = (DOCKER_CONFIG, OCI_CONFIG, OCTETS, "")


@dataclass(frozen=True)
class Descriptor:
    """What a blob is, how large, and its digest (OCI image spec, descriptor)."""

    media_type: str
    digest: str
    size_bytes: int
    platform: platforms.Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as it stands in a manifest."""
        value: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size_bytes,
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform:
            value["platform"] = {
                "architecture": self.platform.architecture,
                "os": self.platform.os,
            } | ({"variant": self.platform.variant} if self.platform.variant else {})
        return value


@dataclass(frozen=True)
class Manifest:
    """One image for one platform: its configuration and layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    def to_bytes(self) -> bytes:
        """Return the manifest as Docker writes it: three spaces of indentation."""
        value = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        return json.dumps(value, indent=3, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Index:
    """Manifests of one image for several platforms."""

    media_type: str
    manifests: tuple[Descriptor, ...]

    def select(self, want: platforms.Platform) -> Descriptor | None:
        """Return the manifest that fits the platform best, or None."""
        position = platforms.best((entry.platform for entry in self.manifests), want)
        return None if position is None else self.manifests[position]


def parse(data: bytes, media_type: str = "") -> Manifest | Index:
    """Parse a manifest or an index.

    Args:
        data: The bytes as they came.
        media_type: What the transport said; the content's own word goes first.

    Raises:
        InvalidArgumentError: If it is neither, or of a kind that no image has.
    """
    try:
        value = json.loads(data)
        if not isinstance(value, dict):
            raise TypeError("not an object")
        kind = str(value.get("mediaType") or media_type.partition(";")[0].strip())
        if value.get("schemaVersion") == 1 or kind in (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED):
            raise InvalidArgumentError(
                "[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, "
                "schema 1 support is disabled by default and will be removed in an upcoming "
                "release."
            )
        if kind in INDEXES or (kind not in MANIFESTS and "manifests" in value):
            entries = tuple(_descriptor(entry) for entry in value["manifests"])
            return Index(kind if kind in INDEXES else OCI_INDEX, entries)
        config = _descriptor(value["config"])
        layers = tuple(_descriptor(entry) for entry in value["layers"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgumentError(f"invalid manifest: {error}") from error
    if config.media_type not in _IMAGE_CONFIGS:
        raise InvalidArgumentError(
            f"unsupported media type {config.media_type}"
            if config.media_type.startswith("application/")
            else "invalid manifest"
        )
    return Manifest(kind if kind in MANIFESTS else OCI_MANIFEST, config, layers)


def descriptor_of(data: bytes, media_type: str) -> Descriptor:
    """Return the descriptor of these bytes."""
    return Descriptor(media_type, digests.digest_of(data), len(data))


def _descriptor(value: dict[str, Any]) -> Descriptor:
    platform = value.get("platform")
    return Descriptor(
        media_type=str(value.get("mediaType", "")),
        digest=digests.validated(str(value["digest"])),
        size_bytes=int(value["size"]),
        platform=None
        if not platform
        else platforms.normalized(
            str(platform.get("os", "")),
            str(platform.get("architecture", "")),
            str(platform.get("variant", "")),
        ),
        annotations=value.get("annotations") or {},
    )
