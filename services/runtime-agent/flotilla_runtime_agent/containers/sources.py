"""The sources of a container's mounts, made ready for a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flotilla_core.errors import InternalError, NotFoundError
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.store import Stored
from flotilla_runtime_agent.runtime import mounting
from flotilla_runtime_agent.spec.inroot import open_in_root
from flotilla_runtime_agent.spec.mounts import PlannedMount, planned


class Sources:
    """The sources of one container's mounts."""

    def __init__(self, host: Host, stored: Stored) -> None:
        """Prepare nothing yet."""
        self._host = host
        self._stored = stored
        self._folder = host.store.folder(stored.record.id)

    async def ready(self) -> tuple[list[dict[str, Any]], str]:
        """Make the user's mounts ready; returns them and the root's propagation."""
        result, propagation = [], ""
        for mount in self._stored.mounts:
            source = await self._source(mount)
            result.append(planned(mount, source))
            if mount.type == "bind":
                propagation = _root_propagation(mount, propagation)
        return result, propagation

    async def _source(self, mount: PlannedMount) -> str:
        match mount.type:
            case "volume":
                mounted = await self._host.volumes.mount(mount.name, self._stored.record.id)
                return path_in_volume(mounted.path, mount.subpath)
            case "image":
                return await self._image_mount(mount)
            case "bind":
                if mount.conflict:
                    raise InternalError(f"mount options conflict: {mount.conflict}")
                _have_source(mount)
                return mount.source
            case _:
                return ""

    async def _image_mount(self, mount: PlannedMount) -> str:
        image = self._stored.image_mounts.get(mount.source)
        if image is None:
            raise NotFoundError(f"No such image: {mount.source}")
        target = image_mount_folder(self._folder, mount)
        target.mkdir(parents=True, exist_ok=True)
        await self._host.snapshots.fetch(image)
        await self._host.snapshots.mount_image(image, target)
        return path_in_volume(target, mount.subpath)


def _have_source(mount: PlannedMount) -> None:
    source = Path(mount.source)
    if source.exists() or source.is_symlink():
        return
    if mount.skip_create:
        raise InternalError(
            f'invalid mount config for type "bind": bind source path does not exist: {source}'
        )
    source.mkdir(parents=True, exist_ok=True)


def image_mount_folder(folder: Path, mount: PlannedMount) -> Path:
    """Return where an image is mounted for a container."""
    return folder / "images" / mount.destination.strip("/").replace("/", "_")


def path_in_volume(root: Path, subpath: str) -> str:
    """Return a path below a volume's root.

    Raises:
        NotFoundError: If it is not there.
        InternalError: If links lead out of the volume.
    """
    if not subpath:
        return str(root)
    base = os.path.realpath(root)
    try:
        inside = os.path.relpath(os.path.realpath(root / subpath, strict=True), base)
        if inside.split("/", 1)[0] == "..":
            raise InternalError(
                f"path concatenation escapes the base directory, base: {root}, subpath: {subpath}"
            )
        fd = open_in_root(root, inside, os.O_PATH)
    except OSError as error:
        path = root / subpath
        kind = NotFoundError if isinstance(error, FileNotFoundError) else InternalError
        reason = (error.strerror or "").lower()
        raise kind(f"cannot access path {path}: lstat {path}: {reason}") from error
    try:
        return str(Path(f"/proc/self/fd/{fd}").readlink())
    finally:
        os.close(fd)


def _root_propagation(mount: PlannedMount, before: str) -> str:
    """Check a bind's propagation against its source's, and say what the root needs."""
    if mount.propagation in ("shared", "rshared"):
        point, is_shared, _ = mounting.source_is_shared(Path(mount.source))
        if not is_shared:
            raise InternalError(
                f"path {mount.source} is mounted on {point} but it is not a shared mount"
            )
        return mount.propagation
    if mount.propagation in ("slave", "rslave"):
        point, is_shared, is_slave = mounting.source_is_shared(Path(mount.source))
        if not (is_shared or is_slave):
            if mount.is_near_root:
                return before
            raise InternalError(
                f"path {mount.source} is mounted on {point} but it is not a shared or slave mount"
            )
        return before or "rslave"
    return before
