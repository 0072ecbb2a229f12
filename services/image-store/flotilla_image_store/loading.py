"""`docker load`: reads a docker archive or an OCI layout from a stream, blob by blob."""

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flotilla_core.errors import InvalidArgumentError, NotFoundError
from flotilla_image_store.blobs import Blob, BlobFolder
from flotilla_oci import images, manifests, platforms, references, tarstream
from flotilla_oci.compression import decompressed, kind_of
from flotilla_oci.manifests import Descriptor, Index, Manifest
from flotilla_oci.references import Reference
from flotilla_oci.tarstream import TarReader

_MAX_DOCUMENT = 16 << 20
_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_LINKS = (tarstream.SYMLINK, tarstream.HARD_LINK)


@dataclass(frozen=True)
class Found:
    """An image in the archive: its manifest and its names."""

    manifest: bytes
    media_type: str
    names: list[Reference]


@dataclass
class Contents:
    """What an archive held: blobs by path, and links between paths."""

    blobs: dict[str, Blob] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def at(self, path: str) -> Blob | None:
        """Return the blob at a path, through links."""
        path = posixpath.normpath(path)
        for _ in range(10):
            if path in self.blobs:
                return self.blobs[path]
            if path not in self.links:
                return None
            path = self.links[path]
        return None


def unpack(chunks: Iterator[bytes], blobs: BlobFolder, contents: Contents) -> None:
    """Store every file of the archive as a blob.

    Args:
        chunks: The archive.
        blobs: Where blobs go.
        contents: Where each is noted as soon as it is there.

    Raises:
        InvalidArgumentError: If it is no archive.
    """
    reader = TarReader(decompressed(chunks))
    for entry in reader:
        path = posixpath.normpath(entry.name)
        if entry.kind == tarstream.REGULAR:
            ingest = blobs.ingest()
            try:
                for part in reader.content():
                    ingest.write(bytes(part))
                blob = ingest.finish()
            finally:
                ingest.abort()
            if path in contents.blobs:
                blobs.settle([contents.blobs[path].digest])
            contents.blobs[path] = blob
        elif entry.kind in _LINKS:
            is_relative = entry.kind == tarstream.SYMLINK
            folder = posixpath.dirname(path) if is_relative else ""
            contents.links[path] = posixpath.normpath(posixpath.join(folder, entry.link))
    reader.drain()


def find(contents: Contents, blobs: BlobFolder) -> list[Found]:
    """Return the images that the archive describes.

    Raises:
        InvalidArgumentError: If it describes none, or wrongly.
    """
    layout = _layout(contents, blobs)
    listing = contents.at("manifest.json")
    if listing is None:
        if not layout:
            raise InvalidArgumentError(
                "invalid archive: it has neither a manifest.json nor an index.json"
            )
        return layout
    try:
        entries = json.loads(blobs.read(listing.digest))
        return [_of_docker(contents, blobs, entry, layout) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgumentError(f"invalid manifest.json: {error}") from error


def _of_docker(
    contents: Contents, blobs: BlobFolder, entry: dict[str, Any], layout: list[Found]
) -> Found:
    config = contents.at(str(entry["Config"]))
    if config is None:
        raise InvalidArgumentError(f"invalid archive: {entry['Config']} is missing")
    names = [references.parse(str(name)).with_default_tag() for name in entry.get("RepoTags") or []]
    for found in layout:
        parsed = manifests.parse(found.manifest, found.media_type)
        if isinstance(parsed, Manifest) and parsed.config.digest == config.digest:
            return Found(found.manifest, found.media_type, names)
    diff_ids = images.parse(blobs.read(config.digest)).diff_ids
    paths = [str(path) for path in entry.get("Layers") or []]
    if len(diff_ids) != len(paths):
        raise InvalidArgumentError(
            f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, got {len(paths)}"
        )
    layers = []
    for path in paths:
        blob = contents.at(path)
        if blob is None or blob.layer is None:
            raise InvalidArgumentError(f"invalid archive: {path} is no layer")
        layers.append(Descriptor(layer_media_type(blob, blobs), blob.digest, blob.size_bytes))
    described = Descriptor(manifests.DOCKER_CONFIG, config.digest, config.size_bytes)
    manifest = Manifest(manifests.DOCKER_MANIFEST, described, tuple(layers))
    return Found(manifest.to_bytes(), manifest.media_type, names)


def layer_media_type(blob: Blob, blobs: BlobFolder) -> str:
    """Return a layer's media type by its compression."""
    start = next(blobs.chunks(blob.digest), b"")
    match kind_of(start):
        case "":
            return manifests.DOCKER_LAYER
        case "gzip":
            return manifests.DOCKER_LAYER_GZIP
        case "zstd":
            return manifests.OCI_LAYER_ZSTD
        case other:
            raise InvalidArgumentError(f"layers compressed with {other} are not supported")


def _layout(contents: Contents, blobs: BlobFolder) -> list[Found]:
    """Return the images of `index.json` whose blobs are all there; names may be none."""
    index = contents.at("index.json")
    if index is None:
        return []
    found: dict[str, Found] = {}
    for descriptor in _index(blobs.read(index.digest)).manifests:
        for one, media_type in _resolved(descriptor, blobs):
            names = _names(descriptor)
            had = found.get(one)
            known = had.names if had else []
            found[one] = Found(blobs.read(one), media_type, [*known, *names])
    return [one for one in found.values() if _is_whole(one, blobs)]


def _index(data: bytes) -> Index:
    parsed = manifests.parse(data, manifests.OCI_INDEX)
    if not isinstance(parsed, Index):
        raise InvalidArgumentError("invalid index.json")
    return parsed


def _resolved(descriptor: Descriptor, blobs: BlobFolder) -> list[tuple[str, str]]:
    if not blobs.has(descriptor.digest) or blobs.size(descriptor.digest) > _MAX_DOCUMENT:
        return []
    if descriptor.media_type not in manifests.INDEXES:
        return [(descriptor.digest, descriptor.media_type)]
    here = [
        entry
        for entry in _index(blobs.read(descriptor.digest)).manifests
        if entry.media_type in manifests.MANIFESTS
        and blobs.has(entry.digest)
        and (entry.platform is None or entry.platform.os != "unknown")
    ]
    chosen = platforms.best([entry.platform for entry in here], platforms.host()) or 0
    return [(entry.digest, entry.media_type) for entry in here[chosen : chosen + 1]]


def _is_whole(found: Found, blobs: BlobFolder) -> bool:
    try:
        parsed = manifests.parse(found.manifest, found.media_type)
    except (InvalidArgumentError, NotFoundError):
        return False
    return isinstance(parsed, Manifest) and all(
        blobs.has(part.digest) for part in (parsed.config, *parsed.layers)
    )


def _names(descriptor: Descriptor) -> list[Reference]:
    for annotation in _NAME_ANNOTATIONS:
        name = descriptor.annotations.get(annotation, "")
        if name and (":" in name or "/" in name):
            return [references.parse(name).with_default_tag()]
    return []
