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
from flotilla_engine.volume_specs import parse_bind, parse_volumes_from
from flotilla_runtime_agent.spec.mounts import PlannedMount

_VOLUME_MODE = "z"


def plan(
    config: ContainerConfig,
    host: HostConfig,
    inherited: Sequence[PlannedMount],
    data_root: Path,
) -> list[PlannedMount]:
    """Return all mounts that the user asked for, by destination.

    Args:
        config: The container's configuration; its ``volumes`` become anonymous ones.
        host: The host configuration: binds, mounts, tmpfs.
        inherited: What volumes-from gives.
        data_root: The agent's folder, whose mounts no container may hold.

    Raises:
        FlotillaError: With dockerd's text.
    """
    planned = {mount.destination: mount for mount in inherited}
    asked: set[str] = set()
    for text in host.binds:
        _add(planned, asked, from_bind(text, host.volume_driver))
    for wanted in host.mounts:
        _add(planned, asked, from_mount(wanted))
    tmpfs = [_short_tmpfs(destination, options) for destination, options in host.tmpfs.items()]
    covered = {*planned, *(mount.destination for mount in tmpfs)}
    for destination in config.volumes:
        place = _clean(destination)
        if place not in covered:
            planned[place] = _anonymous(place, host.volume_driver)
    for mount in planned.values():
        if mount.type == "bind":
            _keep_off(mount, str(data_root))
    return [*planned.values(), *tmpfs]


def _short_tmpfs(destination: str, options: str) -> PlannedMount:
    """Return an entry of ``HostConfig.Tmpfs``; it covers what else is mounted there."""
    words = [option for option in options.split(",") if option]
    return PlannedMount(
        type="tmpfs",
        destination=_clean(destination),
        mode="short",
        options=words,
        rw="ro" not in words,
    )


def _keep_off(mount: PlannedMount, data_root: str) -> None:
    """Let a bind that shows the agent's folder follow what is unmounted there.

    Raises:
        InvalidArgumentError: If it asks not to, with dockerd's text.
    """
    if not (mount.source.startswith(data_root) or data_root.startswith(mount.source)):
        return
    mount.is_near_root = True
    mount.propagation = mount.propagation or "rslave"
    if mount.propagation not in ("rslave", "rshared", "slave", "shared"):
        raise InvalidArgumentError(
            'invalid mount config: must use either propagation mode "rslave" or "rshared" when '
            f'mount source is within the daemon root, daemon root: "{data_root}", bind mount '
            f'source: "{mount.source}", propagation: "{mount.propagation}"'
        )


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
        is_new=True,
    )


def from_others(
    volumes_from: Sequence[str], mounts_of: Callable[[str], Sequence[PlannedMount]]
) -> list[PlannedMount]:
    """Return the mounts that entries of ``VolumesFrom`` give, later ones last.

    Raises:
        FlotillaError: With dockerd's text.
    """
    found = []
    for entry in volumes_from:
        container_id, mode = parse_volumes_from(entry)
        is_read_only = "ro" in mode.split(",")
        found += [
            mount.model_copy(
                update={
                    "rw": mount.rw and not is_read_only,
                    "mode": "",
                    "is_new": False,
                    "no_copy": True,
                }
            )
            for mount in mounts_of(container_id)
            if mount.type in ("bind", "volume")
        ]
    return found


def from_bind(text: str, driver: str) -> PlannedMount:
    """Read one entry of ``HostConfig.Binds``.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    spec = parse_bind(text)
    if not spec.source:
        return _anonymous(spec.destination, driver).model_copy(update={"mode": _VOLUME_MODE})
    if spec.is_volume:
        return PlannedMount(
            type="volume",
            name=spec.source,
            driver=driver or "local",
            no_copy=spec.no_copy,
            destination=spec.destination,
            mode=spec.mode or _VOLUME_MODE,
            rw=not spec.read_only,
        )
    return PlannedMount(
        type="bind",
        source=spec.source,
        propagation=spec.propagation,
        destination=spec.destination,
        mode=spec.mode,
        rw=not spec.read_only,
    )


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
    propagation = options.propagation if options else ""
    conflict = ""
    if options and not wanted.read_only:
        for name in ("read_only_non_recursive", "read_only_force_recursive"):
            if getattr(options, name):
                conflict = f"!ReadOnly && BindOptions.{name.title().replace('_', '')}"
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
        conflict=conflict,
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
                propagation=mount.propagation or ("rprivate" if mount.type == "bind" else ""),
            )
        )
    return points
