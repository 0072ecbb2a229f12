"""Volumes on the wire (``Volume``)."""

from typing import Any

from flotilla_engine.records import VolumeRecord, VolumeUsage

ANONYMOUS_LABEL = "com.docker.volume.anonymous"


def volume_fields(
    volume: VolumeRecord,
    *,
    node_name: str = "",
    is_silent: bool = False,
    usage: VolumeUsage | None = None,
) -> dict[str, Any]:
    """Return ``Volume``; ``Status`` says on which node it is, and whether that one is silent."""
    labels = dict(volume.labels)
    if volume.anonymous:
        labels.setdefault(ANONYMOUS_LABEL, "")
    fields: dict[str, Any] = {
        "CreatedAt": f"{volume.created:%Y-%m-%dT%H:%M:%SZ}",
        "Driver": volume.driver,
        "Labels": labels or None,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }
    if node_name:
        silence = {"Status": "unreachable"} if is_silent else {}
        fields["Status"] = {"Node": {"Name": node_name, **silence}}
    if usage is not None:
        fields["UsageData"] = {"Size": usage.size_bytes, "RefCount": usage.ref_count}
    return fields
