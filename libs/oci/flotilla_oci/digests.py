"""Content digests: `sha256:<64 hex>`, always with their algorithm (OCI image spec, descriptor)."""

import hashlib
import re

from flotilla_core.errors import InvalidArgumentError

_FORM = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]+", re.ASCII)
_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def validated(digest: str) -> str:
    """Return the digest if it is one.

    Raises:
        InvalidArgumentError: With the texts of go-digest, which dockerd passes on.
    """
    algorithm, colon, value = digest.partition(":")
    if not colon or not _FORM.fullmatch(digest):
        raise InvalidArgumentError("invalid checksum digest format")
    if algorithm not in _HEX_LENGTHS:
        raise InvalidArgumentError("unsupported digest algorithm")
    if len(value) != _HEX_LENGTHS[algorithm]:
        raise InvalidArgumentError("invalid checksum digest length")
    if value != value.lower():
        raise InvalidArgumentError("invalid checksum digest format")
    return digest


def is_digest(text: str) -> bool:
    """Tell whether the text is a well-formed digest."""
    try:
        validated(text)
    except InvalidArgumentError:
        return False
    return True


def hex_of(digest: str) -> str:
    """Return the part after the algorithm."""
    return digest.partition(":")[2]


def chain_ids(diff_ids: list[str]) -> list[str]:
    """Return the chain id of each layer, lowest first (OCI image spec, Layer ChainID)."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain
