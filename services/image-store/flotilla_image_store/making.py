"""Makes images of blobs that are here: checks a manifest against them and builds the record."""

from collections.abc import Mapping
from dataclasses import dataclass

from flotilla_core.errors import InvalidArgumentError, NotFoundError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.records import ImageRecord, Layer, Platform
from flotilla_image_store.blobs import BlobFolder
from flotilla_image_store.library import StoredImage
from flotilla_image_store.tables import LayerBlobRow
from flotilla_oci import digests, images, manifests
from flotilla_oci.images import ImageConfig
from flotilla_oci.manifests import Manifest

_MAX_CONFIG = 8 << 20


@dataclass(frozen=True)
class Made:
    """An image ready to be stored, and what it holds: digest and media type of each blob."""

    image: StoredImage
    config: ImageConfig
    blobs: list[tuple[str, str]]


def make(
    blobs: BlobFolder,
    manifest_bytes: bytes,
    media_type: str,
    layers: Mapping[str, LayerBlobRow],
    *,
    parent: str = "",
) -> Made:
    """Check a manifest, its configuration and its layers, and build the image.

    Args:
        blobs: Where the blobs are.
        manifest_bytes: The manifest as it came.
        media_type: What the transport called it.
        layers: What is known of the layers' blobs, by digest.
        parent: The image's id that this one was made from.

    Raises:
        InvalidArgumentError: If something does not fit together.
        NotFoundError: If a blob is not here.
    """
    manifest = manifests.parse(manifest_bytes, media_type)
    if not isinstance(manifest, Manifest):
        raise InvalidArgumentError("an index is not an image")
    config = read_config(blobs, manifest)
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidArgumentError(
            f"invalid rootfs: {len(config.diff_ids)} diff ids, {len(manifest.layers)} layers"
        )
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        known = layers.get(layer.digest)
        if not blobs.has(layer.digest):
            raise NotFoundError(f"blob unknown to registry: {layer.digest}")
        if known is None:
            raise InvalidArgumentError(f"layer {layer.digest} is no archive")
        if known.diff_id != diff_id:
            raise InvalidArgumentError(
                f"wrong diff id calculated on extraction {diff_id!r}: {known.diff_id}"
            )
    digest = digests.digest_of(manifest_bytes)
    held = [(digest, manifest.media_type), (manifest.config.digest, manifest.config.media_type)]
    held += [(layer.digest, layer.media_type) for layer in manifest.layers]
    record = _record(config, manifest, layers, parent)
    return Made(StoredImage(record, digest, manifest.media_type), config, held)


def read_config(blobs: BlobFolder, manifest: Manifest) -> ImageConfig:
    """Read the configuration that a manifest names.

    Raises:
        InvalidArgumentError: If it is none.
        NotFoundError: If it is not here.
    """
    if blobs.size(manifest.config.digest) > _MAX_CONFIG:
        raise InvalidArgumentError("image configuration too large")
    return images.parse(blobs.read(manifest.config.digest))


def _record(
    config: ImageConfig, manifest: Manifest, known: Mapping[str, LayerBlobRow], parent: str
) -> ImageRecord:
    layers = [
        Layer(
            digest=layer.digest,
            diff_id=diff_id,
            size_bytes=layer.size_bytes,
            media_type=layer.media_type,
            diff_bytes=known[layer.digest].diff_bytes,
        )
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    ]
    value = config.value
    created = config.created
    return ImageRecord(
        id=config.id,
        created=created if created.year > 1 else None,
        parent=parent,
        comment=str(value.get("comment") or (config.history or [{}])[-1].get("comment") or ""),
        author=str(value.get("author") or ""),
        docker_version=str(value.get("docker_version") or ""),
        config=ContainerConfig.model_validate(config.runtime),
        platform=Platform(
            os=str(value.get("os") or "linux"),
            architecture=str(value.get("architecture") or ""),
            variant=str(value.get("variant") or ""),
        ),
        layers=layers,
        size_bytes=sum(layer.diff_bytes for layer in layers),
    )
