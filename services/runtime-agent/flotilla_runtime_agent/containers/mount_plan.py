"""Decides a container's mounts at create, in dockerd's order of precedence."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flotilla_core.errors import InvalidArgumentError
from flotilla_core.ids import new_id
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig, Mount
from flotilla_engine.mounts import MountPoint
from flotilla_runtime_agent.spec.mounts import PlannedMount

_PROPAGATIONS = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
_LABELS = {"z", "Z"}
_CONSISTENCY = {"consistent", "cached", "delegated", "default"}
_VOLUME_MODE = "z"


def plan(
    config: ContainerConfig,
    host: HostConfig,
    volumes_of: Callable[[str], Sequence[PlannedMount]],
) -> list[PlannedMount]:
    """Return all mounts that the user asked for, by destination.

    Args:
        config: The container's configuration; its ``volumes`` become anonymous ones.
        host: The host configuration: binds, mounts, tmpfs, volumes-from.
        volumes_of: Gives another container's mounts, for volumes-from.

    Raises:
        FlotillaError: With dockerd's text.
    """
    planned: dict[str, PlannedMount] = {}
    for entry in host.volumes_from:
        for mount in _from_other(entry, volumes_of):
            planned[mount.destination] = mount
    asked: set[str] = set()
    for text in host.binds:
        _add(planned, asked, parse_bind(text, host.volume_driver))
    for wanted in host.mounts:
        _add(planned, asked, from_mount(wanted))
    for destination, options in host.tmpfs.items():
        mount = PlannedMount(
            type="tmpfs",
            destination=_clean(destination),
            mode="short",
            options=[option for option in options.split(",") if option],
            rw="ro" not in options.split(","),
        )
        _add(planned, asked, mount)
    for destination in config.volumes:
        place = _clean(destination)
        if place not in planned:
            planned[place] = _anonymous(place, host.volume_driver)
    return list(planned.values())


def _add(planned: dict[str, PlannedMount], asked: set[str], mount: PlannedMount) -> None:
    if mount.destination in asked:
        raise InvalidArgumentError(f"Duplicate mount point: {mount.destination}")
    asked.add(mount.destination)
    planned[mount.destination] = mount


def _clean(path: str) -> str:
    place = os.path.normpath(path)
    return "/" + place.lstrip("/") if place.startswith("/") else place


def _anonymous(destination: str, driver: str) -> PlannedMount:
    return PlannedMount(
        type="volume",
        name=new_id(),
        destination=destination,
        driver=driver or "local",
        is_anonymous=True,
    )


def _from_other(
    entry: str, volumes_of: Callable[[str], Sequence[PlannedMount]]
) -> list[PlannedMount]:
    container_id, _, mode = entry.partition(":")
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise InvalidArgumentError(f"invalid mode: {mode}")
    # Their writers share the anonymous volumes of the other one: removing this container
    # with its volumes must leave them.
    return [
        mount.model_copy(update={"rw": mount.rw and mode != "ro", "is_anonymous": False})
        for mount in volumes_of(container_id)
        if mount.type in ("bind", "volume")
    ]


def parse_bind(text: str, driver: str) -> PlannedMount:
    """Parse ``[source:]destination[:mode]``.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise InvalidArgumentError(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        source, destination, mode = "", parts[0], ""
    else:
        source, destination, mode = parts[0], parts[1], parts[2] if len(parts) > 2 else ""
    if not destination.startswith("/"):
        raise InvalidArgumentError(
            f"invalid volume specification: '{text}': invalid mount config for type "
            f'"{"bind" if source.startswith("/") else "volume"}": invalid mount path: '
            f"'{destination}' mount path must be absolute"
        )
    if _clean(destination) == "/":
        raise InvalidArgumentError(
            f"invalid volume specification: '{text}': invalid specification: "
            "destination can't be '/'"
        )
    words = _mode_words(mode)
    place, is_writable = _clean(destination), "ro" not in words
    if source.startswith("/"):
        given = [word for word in words if word in _PROPAGATIONS]
        return PlannedMount(
            type="bind",
            source=os.path.normpath(source),
            propagation=given[0] if given else "rprivate",
            destination=place,
            mode=mode,
            rw=is_writable,
        )
    if not source:
        return _anonymous(place, driver)
    return PlannedMount(
        type="volume",
        name=source,
        driver=driver or "local",
        no_copy="nocopy" in words,
        destination=place,
        mode=mode or _VOLUME_MODE,
        rw=is_writable,
    )


def _mode_words(mode: str) -> list[str]:
    words = mode.split(",") if mode else []
    known = {"ro", "rw", "nocopy", *_PROPAGATIONS, *_LABELS, *_CONSISTENCY}
    accesses = [word for word in words if word in ("ro", "rw")]
    if len(accesses) > 1 or any(word not in known for word in words):
        raise InvalidArgumentError(f"invalid mode: {mode}")
    return words


def from_mount(wanted: Mount) -> PlannedMount:
    """Read one entry of ``HostConfig.Mounts``.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    place = _clean(wanted.target)
    match wanted.type:
        case "bind":
            return _bind(wanted, place)
        case "volume":
            return _volume(wanted, place)
        case "tmpfs":
            return PlannedMount(
                type="tmpfs", destination=place, rw=not wanted.read_only, options=_tmpfs(wanted)
            )
        case "image":
            options = wanted.image_options
            return PlannedMount(
                type="image",
                source=wanted.source,
                destination=place,
                rw=False,
                subpath=options.subpath if options else "",
            )
        case _:
            raise InvalidArgumentError(f'mount type unknown: "{wanted.type}"')


def _bind(wanted: Mount, place: str) -> PlannedMount:
    options = wanted.bind_options
    propagation = options.propagation if options and options.propagation else "rprivate"
    must_exist = not (options and options.create_mountpoint)
    if must_exist and not Path(wanted.source).exists():
        raise InvalidArgumentError(
            'invalid mount config for type "bind": bind source path does not exist: '
            f"{wanted.source}"
        )
    return PlannedMount(
        type="bind",
        source=os.path.normpath(wanted.source),
        destination=place,
        rw=not wanted.read_only,
        propagation=propagation,
        is_recursive=not (options and options.non_recursive),
        is_read_only_recursive=not (options and options.read_only_non_recursive),
        skip_create=must_exist,
    )


def _volume(wanted: Mount, place: str) -> PlannedMount:
    options = wanted.volume_options
    driver = options.driver_config.name if options and options.driver_config else ""
    if not wanted.source:
        planned = _anonymous(place, driver)
    else:
        planned = PlannedMount(
            type="volume", name=wanted.source, destination=place, driver=driver or "local"
        )
    return planned.model_copy(
        update={
            "rw": not wanted.read_only,
            "mode": _VOLUME_MODE,
            "no_copy": bool(options and options.no_copy),
            "subpath": options.subpath if options else "",
        }
    )


def _tmpfs(wanted: Mount) -> list[str]:
    options = wanted.tmpfs_options
    if options is None:
        return []
    given = [f"mode={options.mode:o}"] if options.mode else []
    if options.size_bytes:
        given.append(f"size={_size(options.size_bytes)}")
    return [*given, *("=".join(pair) for pair in options.options)]


def _size(size_bytes: int) -> str:
    for suffix, unit in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if size_bytes % unit == 0:
            return f"{size_bytes // unit}{suffix}"
    return str(size_bytes)


def mount_points(planned: Sequence[PlannedMount], paths: Mapping[str, Path]) -> list[MountPoint]:
    """Return inspect's ``Mounts``; ``paths`` has the volumes' folders by name."""
    points = []
    for mount in planned:
        # The short form of tmpfs is shown in HostConfig only, as dockerd does.
        if mount.type == "tmpfs" and mount.mode == "short":
            continue
        is_volume = mount.type == "volume"
        points.append(
            MountPoint(
                type=mount.type,
                name=mount.name,
                source=str(paths.get(mount.name, "")) if is_volume else mount.source,
                destination=mount.destination,
                driver=mount.driver if is_volume else "",
                mode=mount.mode,
                rw=mount.rw,
                propagation=mount.propagation,
            )
        )
    return points
