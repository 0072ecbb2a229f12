"""New images of one more layer: `docker commit` and `docker import`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.config import ContainerConfig
from flotilla_image_store.blobs import Blob, BlobFolder
from flotilla_image_store.loading import layer_media_type
from flotilla_oci import images, manifests, platforms
from flotilla_oci.images import ImageConfig
from flotilla_oci.manifests import Descriptor, Manifest
from flotilla_oci.platforms import Platform

_SMALL_TAR = 1 << 20
_TAR_BLOCK = 512


@dataclass(frozen=True)
class Composed:
    """A manifest and the configuration that it names."""

    manifest: Manifest
    config: ImageConfig


@dataclass(frozen=True)
class Change:
    """What a commit adds."""

    config: ContainerConfig
    author: str
    comment: str
    created_by: str
    container: str


def imported(
    layer: Blob, blobs: BlobFolder, config: ContainerConfig, comment: str, platform: str
) -> Composed:
    """Return an image whose only layer was given.

    Raises:
        InvalidArgumentError: If that is no archive.
    """
    if layer.layer is None:
        is_short = layer.size_bytes < _TAR_BLOCK
        raise InvalidArgumentError(
            "unexpected EOF" if is_short else "archive/tar: invalid tar header"
        )
    where = platforms.parse(platform) if platform else platforms.host()
    created = images.format_time(datetime.now(UTC))
    value: dict[str, Any] = _of_platform(where) | {
        "created": created,
        "comment": comment,
        "config": _wire(config),
        "rootfs": {"type": "layers", "diff_ids": [layer.layer.diff_id]},
        "history": [{"created": created, "comment": comment}],
    }
    return _composed(value, [_descriptor(layer, blobs)])


def committed(
    base: ImageConfig, below: Manifest, layer: Blob, blobs: BlobFolder, change: Change
) -> Composed:
    """Return the base image with one more layer, unless that is empty.

    Raises:
        InvalidArgumentError: If the layer is no archive.
    """
    if layer.layer is None:
        raise InvalidArgumentError("archive/tar: invalid tar header")
    is_empty = _is_empty(layer, blobs)
    created = images.format_time(datetime.now(UTC))
    step: dict[str, Any] = {
        "created": created,
        "author": change.author,
        "created_by": change.created_by,
        "comment": change.comment,
        "empty_layer": is_empty,
    }
    added = [] if is_empty else [layer.layer.diff_id]
    value = {
        key: base.value[key]
        for key in ("architecture", "os", "variant", "os.version", "os.features")
        if base.value.get(key)
    } | {
        "created": created,
        "author": change.author,
        "container": change.container,
        "config": _wire(change.config),
        "rootfs": {"type": "layers", "diff_ids": [*base.diff_ids, *added]},
        "history": [*base.history, {key: item for key, item in step.items() if item}],
    }
    layers = [*below.layers] + ([] if is_empty else [_descriptor(layer, blobs)])
    return _composed({key: item for key, item in value.items() if item != ""}, layers)


def _composed(value: dict[str, Any], layers: list[Descriptor]) -> Composed:
    config = images.made_from(value)
    described = manifests.descriptor_of(config.raw, manifests.DOCKER_CONFIG)
    return Composed(Manifest(manifests.DOCKER_MANIFEST, described, tuple(layers)), config)


def _descriptor(layer: Blob, blobs: BlobFolder) -> Descriptor:
    return Descriptor(layer_media_type(layer, blobs), layer.digest, layer.size_bytes)


def _is_empty(layer: Blob, blobs: BlobFolder) -> bool:
    if layer.size_bytes > _SMALL_TAR:
        return False
    data = blobs.read(layer.digest)
    return data == bytes(len(data))


def _of_platform(platform: Platform) -> dict[str, Any]:
    value = {"os": platform.os, "architecture": platform.architecture}
    return value | ({"variant": platform.variant} if platform.variant else {})


def _wire(config: ContainerConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
