"""Checks of binds and mounts (moby ``volume/mounts/linux_parser.go``, ``daemon/volumes.go``)."""

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.host_config import HostConfig, Mount
from flotilla_engine.versions import Version
from flotilla_engine.volume_specs import (
    PROPAGATIONS,
    check_volume_name,
    destination_error,
    parse_bind,
    parse_volumes_from,
)

_OPTIONS = (
    ("bind", "BindOptions", "bind_options"),
    ("volume", "VolumeOptions", "volume_options"),
    ("tmpfs", "TmpfsOptions", "tmpfs_options"),
    ("image", "ImageOptions", "image_options"),
)


def check_mounts(host_config: HostConfig, version: Version) -> None:
    """Check ``Binds``, ``Mounts`` and ``VolumesFrom``, each alone and for double destinations.

    Whether the source of a bind exists is for its node to say.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    for mount in host_config.mounts:
        if version >= (1, 42):
            _check_options(mount)
        if wrong := _mount_error(mount, version):
            raise InvalidArgumentError(f'invalid mount config for type "{mount.type}": {wrong}')
    for entry in host_config.volumes_from:
        parse_volumes_from(entry)
    taken: set[str] = set()
    for bind in host_config.binds:
        spec = parse_bind(bind)
        if spec.is_volume and spec.source:
            check_volume_name(spec.source)
        if spec.destination in taken or spec.destination in host_config.tmpfs:
            raise InvalidArgumentError(f"Duplicate mount point: {spec.destination}")
        taken.add(spec.destination)
    for mount in host_config.mounts:
        if mount.type == "volume" and mount.source:
            check_volume_name(mount.source)
        destination = mount.target.rstrip("/")
        if destination in taken:
            raise InvalidArgumentError(f"Duplicate mount point: {mount.target}")
        taken.add(destination)


def _check_options(mount: Mount) -> None:
    for kind, name, attribute in _OPTIONS:
        if mount.type != kind and getattr(mount, attribute) is not None:
            raise InvalidArgumentError(f'{name} must not be specified on mount type "{mount.type}"')


def _mount_error(mount: Mount, version: Version) -> str:
    if not mount.target:
        return "field Target must not be empty"
    if wrong := destination_error(mount.target):
        return wrong
    if mount.type not in ("bind", "volume", "tmpfs", "image"):
        return "mount type unknown"
    match mount.type:
        case "bind":
            return _bind_error(mount)
        case "volume":
            return _volume_error(mount)
        case "tmpfs":
            return "field Source must not be specified" if mount.source else ""
        case _:
            if version < (1, 48):
                return "mount type unknown"
            return _image_error(mount)


def _bind_error(mount: Mount) -> str:
    if not mount.source:
        return "field Source must not be empty"
    propagation = mount.bind_options.propagation if mount.bind_options is not None else ""
    if propagation and propagation not in PROPAGATIONS:
        return f"invalid propagation mode: {propagation}"
    if not mount.source.startswith("/"):
        return f"invalid mount path: '{mount.source}' mount path must be absolute"
    return ""


def _volume_error(mount: Mount) -> str:
    subpath = mount.volume_options.subpath if mount.volume_options is not None else ""
    if not mount.source:
        if subpath:
            return "must not set Subpath when using anonymous volumes"
        if mount.read_only:
            return "must not set ReadOnly mode when using anonymous volumes"
    if subpath and not _is_local(subpath):
        return "subpath must be a relative path within the volume"
    return ""


def _image_error(mount: Mount) -> str:
    if not mount.source:
        return "field Source must not be empty"
    subpath = mount.image_options.subpath if mount.image_options is not None else ""
    if subpath and not _is_local(subpath):
        return "subpath must be a relative path within the image"
    return ""


def _is_local(path: str) -> bool:
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return False
    return not path.startswith("/")
