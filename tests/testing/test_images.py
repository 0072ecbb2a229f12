"""The test images are ones that docker can load (flotilla_testing.images)."""

import json
import tarfile
from pathlib import Path

from flotilla_testing import images


def test_image_is_the_same_each_time(tmp_path: Path) -> None:
    first = images.write_layered(tmp_path / "a.tar")
    assert images.write_layered(tmp_path / "b.tar") == first
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_image_names_its_layers(tmp_path: Path) -> None:
    identifier = images.write_layered(tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        file = archive.extractfile("manifest.json")
        assert file is not None
        manifest = json.load(file)[0]
        names = archive.getnames()
    assert manifest["RepoTags"] == ["layered:latest"]
    assert manifest["Config"] == f"{identifier.removeprefix('sha256:')}.json"
    assert len(manifest["Layers"]) == 2
    assert set(manifest["Layers"]) <= set(names)
