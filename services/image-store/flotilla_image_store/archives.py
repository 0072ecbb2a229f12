"""`docker save`: a docker archive that is an OCI layout as well, as dockerd 25 and later write."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flotilla_image_store.blobs import BlobFolder
from flotilla_image_store.library import StoredImage
from flotilla_oci import digests, manifests
from flotilla_oci.compression import decompressed
from flotilla_oci.manifests import Descriptor, Manifest
from flotilla_oci.references import Reference

_BLOCK = 512
_RECORD = 10240
_NAME_ANNOTATION = "io.containerd.image.name"
_TAG_ANNOTATION = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Saved:
    """An image to save, and the names to save it under."""

    image: StoredImage
    names: list[Reference]
    config: bytes


def archive(saved: list[Saved], blobs: BlobFolder, tar_bytes: dict[str, int]) -> Iterator[bytes]:
    """Yield the archive.

    Args:
        saved: The images.
        blobs: Where their blobs are.
        tar_bytes: The uncompressed length of each layer, by its blob's digest.
    """
    written: set[str] = set()
    for folder in ("blobs/", "blobs/sha256/"):
        yield _header(folder, 0, is_folder=True)
    entries: list[dict[str, Any]] = []
    index: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    for one in saved:
        layers = []
        for layer in one.image.record.layers:
            size = tar_bytes[layer.digest]
            layers.append(Descriptor(manifests.OCI_LAYER, layer.diff_id, size))
            if layer.diff_id not in written:
                written.add(layer.diff_id)
                yield from _blob(layer.diff_id, size, decompressed(blobs.chunks(layer.digest)))
        config = Descriptor(manifests.OCI_CONFIG, one.image.id, len(one.config))
        manifest = Manifest(manifests.OCI_MANIFEST, config, tuple(layers)).to_bytes()
        for digest, data in ((one.image.id, one.config), (digests.digest_of(manifest), manifest)):
            if digest not in written:
                written.add(digest)
                yield from _blob(digest, len(data), iter([data]))
        entries.append(
            {
                "Config": _path(one.image.id),
                "RepoTags": [name.familiar for name in one.names] or None,
                "Layers": [_path(layer.digest) for layer in layers],
                "LayerSources": {layer.digest: layer.to_json() for layer in layers},
            }
        )
        index += _index_entries(manifest, one.names)
        for name in one.names:
            tags = repositories.setdefault(name.familiar_name, {})
            tags[name.tag or ""] = digests.hex_of(layers[-1].digest) if layers else ""
    document = {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": index}
    yield from _file("index.json", _json(document))
    yield from _file("manifest.json", _json(entries))
    yield from _file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    if repositories:
        yield from _file("repositories", _json(repositories))
    yield bytes(_RECORD)


def _index_entries(manifest: bytes, names: list[Reference]) -> list[dict[str, Any]]:
    described = manifests.descriptor_of(manifest, manifests.OCI_MANIFEST).to_json()
    return [
        described | {"annotations": {_NAME_ANNOTATION: str(name), _TAG_ANNOTATION: name.tag or ""}}
        for name in names
    ] or [described]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _path(digest: str) -> str:
    return f"blobs/sha256/{digests.hex_of(digest)}"


def _file(name: str, data: bytes) -> Iterator[bytes]:
    yield _header(name, len(data)) + data + bytes(-len(data) % _BLOCK)


def _blob(digest: str, size: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield _header(_path(digest), size)
    yield from chunks
    if size % _BLOCK:
        yield bytes(-size % _BLOCK)


def _header(name: str, size: int, *, is_folder: bool = False) -> bytes:
    """Return a ustar header; sizes beyond its octal digits are written in GNU's base 256."""
    length = f"{size:011o}\0".encode() if size < 8**11 else _base256(size)
    header = bytearray(_BLOCK)
    header[0 : len(name)] = name.encode()
    header[100:108] = b"0000755\0" if is_folder else b"0000644\0"
    header[108:124] = b"0000000\0" * 2
    header[124:136] = length
    header[136:148] = b"00000000000\0"
    header[148:156] = b"        "
    header[156:157] = b"5" if is_folder else b"0"
    header[257:265] = b"ustar\00000"
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


def _base256(number: int) -> bytes:
    return bytes([0x80]) + number.to_bytes(11, "big")
