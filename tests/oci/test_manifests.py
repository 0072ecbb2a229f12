"""Twin of flotilla_oci.manifests, .platforms and .images."""

import json

import pytest

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci import digests, images, manifests, platforms
from flotilla_oci.manifests import Descriptor, Index, Manifest
from flotilla_oci.platforms import Platform

DIGEST = digests.digest_of(b"")


def index(*entries: tuple[str, str, str]) -> Index:
    return Index(
        manifests.OCI_INDEX,
        tuple(
            Descriptor(
                manifests.OCI_MANIFEST,
                digests.digest_of("/".join(entry).encode()),
                1,
                platforms.normalized(*entry),
            )
            for entry in entries
        ),
    )


def test_an_index_gives_the_best_manifest_for_a_platform() -> None:
    many = index(
        ("linux", "amd64", ""),
        ("linux", "arm", "v5"),
        ("linux", "arm", "v7"),
        ("linux", "arm64", "v8"),
        ("unknown", "unknown", ""),
    )

    def chosen(text: str) -> str:
        found = many.select(platforms.parse(text))
        return str(found.platform) if found else ""

    assert chosen("linux/amd64") == "linux/amd64"
    assert chosen("linux/arm64") == "linux/arm64"
    assert chosen("linux/arm64/v8") == "linux/arm64"
    assert chosen("linux/arm") == "linux/arm/v7"
    assert chosen("linux/arm/v6") == "linux/arm/v5"
    assert chosen("linux/s390x") == ""
    assert chosen('{"os": "linux", "architecture": "amd64"}') == "linux/amd64"


@pytest.mark.parametrize("text", ["", "nothing", "linux/a/b/c", "linux//amd64", "{", '{"os": 1}'])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        platforms.parse(text)


def test_names_of_other_systems_are_understood() -> None:
    assert platforms.parse("x86_64") == Platform("linux", "amd64")
    assert platforms.parse("linux/aarch64") == Platform("linux", "arm64")
    assert platforms.parse("armhf") == Platform("linux", "arm", "v7")


def test_a_manifest_survives_the_way_through_its_bytes() -> None:
    manifest = Manifest(
        manifests.DOCKER_MANIFEST,
        Descriptor(manifests.DOCKER_CONFIG, DIGEST, 5),
        (Descriptor(manifests.DOCKER_LAYER_GZIP, DIGEST, 7),),
    )
    assert manifests.parse(manifest.to_bytes()) == manifest


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schemaVersion": 2, "config": {}, "layers": []}',
        json.dumps({"schemaVersion": 1, "name": "x"}).encode(),
        json.dumps(
            {"schemaVersion": 2, "config": {"digest": "x", "size": 1}, "layers": []}
        ).encode(),
    ],
)
def test_what_is_no_manifest_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidArgumentError):
        manifests.parse(value)


def test_a_configuration_keeps_its_digest_and_tells_its_parts() -> None:
    raw = json.dumps(
        {
            "created": "2024-05-06T07:08:09.123456789Z",
            "os": "linux",
            "architecture": "arm64",
            "variant": "v8",
            "config": {"Labels": {"a": "b"}},
            "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        }
    ).encode()
    config = images.parse(raw)
    assert config.id == digests.digest_of(raw)
    assert config.diff_ids == [DIGEST]
    assert config.labels == {"a": "b"}
    assert str(config.platform) == "linux/arm64"
    assert images.format_time(config.created) == "2024-05-06T07:08:09.123456Z"
    with pytest.raises(InvalidArgumentError):
        images.parse(b"{}")
    assert images.parse(b'{"rootfs": {}}').created.year == 1
