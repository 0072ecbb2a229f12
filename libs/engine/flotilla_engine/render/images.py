"""Images on the wire (``ImageInspect``, ``ImageSummary``)."""

from datetime import UTC, datetime
from typing import Any

from flotilla_engine.config import ContainerConfig
from flotilla_engine.records import ImageRecord
from flotilla_engine.render.configs import config_fields
from flotilla_engine.timestamps import ZERO, rfc3339_nano
from flotilla_engine.versions import MAXIMUM, Version

_IMAGE_CONFIG = frozenset(
    {
        "User", "ExposedPorts", "Env", "Cmd", "Volumes", "WorkingDir", "Entrypoint", "OnBuild",
        "Labels", "StopSignal", "Shell", "Healthcheck", "ArgsEscaped",
    }
)  # fmt: skip


def image_inspect(
    image: ImageRecord, version: Version = MAXIMUM, graph_data: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return ``ImageInspect``."""
    fields: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": image.parent,
        "Comment": image.comment,
        "DockerVersion": image.docker_version,
        "Author": image.author,
        "Config": _image_config(image.config, version),
        "Architecture": image.platform.architecture,
        "Os": image.platform.os,
        "Size": image.size_bytes,
        "GraphDriver": {"Data": graph_data or {}, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in image.layers]},
        "Metadata": {"LastTagTime": rfc3339_nano(image.last_tagged)},
    }
    if not image.layers:
        del fields["RootFS"]["Layers"]
    if image.platform.variant:
        fields["Variant"] = image.platform.variant
    if image.created is not None:
        fields["Created"] = rfc3339_nano(image.created)
    elif version < (1, 44):
        fields["Created"] = ZERO
    if version < (1, 44):
        fields["VirtualSize"] = image.size_bytes
    if version < (1, 45):
        fields["Container"] = ""
        fields["ContainerConfig"] = config_fields(ContainerConfig())
    return fields


def _image_config(config: ContainerConfig, version: Version) -> dict[str, Any]:
    fields = config_fields(config)
    if version < (1, 50):
        return fields
    return {name: value for name, value in fields.items() if name in _IMAGE_CONFIG and value}


def image_summary(
    image: ImageRecord,
    version: Version = MAXIMUM,
    *,
    containers: int = -1,
    shared_size: int = -1,
) -> dict[str, Any]:
    """Return ``ImageSummary``; -1 stands for what was not counted."""
    created = image.created or datetime(1970, 1, 1, tzinfo=UTC)
    tags: list[str] | None = image.repo_tags
    digests: list[str] | None = image.repo_digests
    if version < (1, 43):
        if not tags and not digests:
            tags, digests = ["<none>:<none>"], ["<none>@<none>"]
        elif not tags:
            tags = ["<none>:<none>"]
        digests = digests or None
    fields: dict[str, Any] = {
        "Containers": containers,
        "Created": int(created.timestamp()),
        "Id": image.id,
        "Labels": image.config.labels or None,
        "ParentId": image.parent,
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": shared_size,
        "Size": image.size_bytes,
    }
    if version < (1, 44):
        fields["VirtualSize"] = image.size_bytes
    return fields
