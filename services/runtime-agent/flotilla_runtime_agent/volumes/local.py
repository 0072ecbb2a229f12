"""Volumes as folders: one per volume with its record, its users and its data.

``NAME/volume.json`` is the record, ``NAME/users/`` has a file per container that has the volume
mounted, ``NAME/_data`` is what containers see. A folder appears and goes whole, by rename.
"""

import asyncio
import builtins
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from flotilla_core.errors import ConflictError, InternalError, NotFoundError
from flotilla_engine.records import VolumeRecord, VolumeUsage
from flotilla_engine.validate import check_volume
from flotilla_engine.volume_specs import check_volume_name
from flotilla_runtime_agent.ports import MountedVolume
from flotilla_runtime_agent.spec.inroot import open_in_root
from flotilla_runtime_agent.volumes.content import copy_attributes, copy_content, measure
from flotilla_runtime_agent.volumes.mounts import is_mounted, mount, unmount
from flotilla_runtime_agent.volumes.options import mount_of

_RECORD = "volume.json"
_USERS = "users"
_DATA = "_data"
_UNFINISHED = ".unfinished-"
_PASSING = "."  # what is no container: it ends with the agent


def passing_user() -> str:
    """Return the name of a user that is no container and does not outlive the agent."""
    return f"{_PASSING}{secrets.token_hex(8)}"


class LocalVolumes:
    """The volumes in one folder of this node; implements ``ports.Volumes``."""

    def __init__(self, folder: Path) -> None:
        """Use the folder, which is made; what was left half done there goes."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        for left in folder.glob(f"{_UNFINISHED}*"):
            unmount(left / _DATA)
            shutil.rmtree(left, ignore_errors=True)
        for user in folder.glob(f"*/{_USERS}/{_PASSING}*"):
            user.unlink()
        self._locks: dict[str, asyncio.Lock] = {}
        self._holders: dict[str, set[str]] = {}

    async def create(self, volume: VolumeRecord) -> VolumeRecord:
        """Have the volume; one that exists is left as it is.

        Raises:
            InvalidArgumentError: If the name or the options are wrong.
        """
        async with self._lock(volume.name):
            return await asyncio.to_thread(self._create, volume)

    async def inspect(self, name: str) -> VolumeRecord:
        """Return the volume.

        Raises:
            NotFoundError: If there is none.
        """
        return await asyncio.to_thread(self._read, name)

    async def list(self) -> builtins.list[VolumeRecord]:
        """Return all volumes of this node, by name."""
        return await asyncio.to_thread(self._all)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Delete the volume and its data; ``force``: it may be gone already.

        Raises:
            NotFoundError: If there is none.
            ConflictError: While a container has it.
        """
        async with self._lock(name):
            await asyncio.to_thread(self._remove, name, force)
        self._locks.pop(name, None)

    @asynccontextmanager
    async def importing(self, volume: VolumeRecord) -> AsyncIterator[Path]:
        """Give a folder to fill; it becomes the volume at the end, or vanishes.

        Raises:
            ConflictError: If a container has the volume that it would replace.
        """
        check_volume(volume.name, volume.driver, volume.options)
        made, _ = await asyncio.to_thread(self._unfinished, volume)
        try:
            yield made / _DATA
            async with self._lock(volume.name):
                await asyncio.to_thread(self._take_in, made, volume.name)
        finally:
            await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)

    def hold(self, name: str, container_id: str) -> None:
        """Note that a container has the volume, running or not: it is not removed then."""
        self._holders.setdefault(name, set()).add(container_id)

    def release(self, container_id: str) -> None:
        """Forget what a container that is gone has held."""
        for name, holders in list(self._holders.items()):
            holders.discard(container_id)
            if not holders:
                del self._holders[name]

    async def mount(self, name: str, container_id: str) -> MountedVolume:
        """Count a user, and mount what the options say if it is not."""
        async with self._lock(name):
            return await asyncio.to_thread(self._mount, name, container_id)

    async def unmount(self, name: str, container_id: str) -> None:
        """Count a user out; after the last one the options' mount goes. Safe to repeat."""
        async with self._lock(name):
            await asyncio.to_thread(self._unmount, name, container_id)

    async def copy_up(self, name: str, image_root: Path, destination: str) -> None:
        """Fill an empty volume with what the image has at destination, and take its owner."""
        async with self._lock(name):
            await asyncio.to_thread(self._copy_up, name, image_root, destination)

    async def usage(self, names: Sequence[str]) -> builtins.list[VolumeUsage]:
        """Measure volumes; unknown names are left out, none means all."""
        wanted = names or [volume.name for volume in await self.list()]
        measured = [await asyncio.to_thread(self._usage, name) for name in wanted]
        return [usage for usage in measured if usage is not None]

    def data_folder(self, name: str) -> Path:
        """Return where the volume's content is; it need not be mounted."""
        return self._folder / name / _DATA

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _create(self, volume: VolumeRecord) -> VolumeRecord:
        check_volume_name(volume.name)
        place = self._folder / volume.name
        if (place / _RECORD).exists():
            return self._read(volume.name)
        check_volume(volume.name, volume.driver, volume.options)
        made, record = self._unfinished(volume)
        made.rename(place)
        return record

    def _unfinished(self, volume: VolumeRecord) -> tuple[Path, VolumeRecord]:
        place = self._folder / volume.name
        record = volume.model_copy(update={"mountpoint": str(place / _DATA)})
        made = self._folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
        made.mkdir(mode=0o701)
        (made / _USERS).mkdir(mode=0o700)
        (made / _DATA).mkdir(mode=0o755)
        (made / _DATA).chmod(0o755)
        with (made / _RECORD).open("w") as file:
            file.write(record.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        return made, record

    def _take_in(self, made: Path, name: str) -> None:
        subprocess.run(["sync", "--file-system", made / _DATA], check=True)
        self._remove(name, True)
        made.rename(self._folder / name)

    def _read(self, name: str) -> VolumeRecord:
        try:
            content = (self._folder / name / _RECORD).read_bytes()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise NotFoundError(f"get {name}: no such volume") from None
        return VolumeRecord.model_validate_json(content)

    def _all(self) -> builtins.list[VolumeRecord]:
        names = sorted(path.parent.name for path in self._folder.glob(f"[!.]*/{_RECORD}"))
        return [self._read(name) for name in names]

    def _users(self, name: str) -> builtins.list[str]:
        return sorted(path.name for path in (self._folder / name / _USERS).iterdir())

    def _remove(self, name: str, force: bool) -> None:
        try:
            self._read(name)
        except NotFoundError:
            if force:
                return
            raise
        users = sorted({*self._users(name), *self._holders.get(name, ())})
        if users:
            raise ConflictError(f"remove {name}: volume is in use - [{', '.join(users)}]")
        unmount(self.data_folder(name))
        gone = self._folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
        (self._folder / name).rename(gone)
        shutil.rmtree(gone)

    def _mount(self, name: str, container_id: str) -> MountedVolume:
        record = self._read(name)
        data = self.data_folder(name)
        try:
            wanted = mount_of(record.options)
        except InternalError as error:
            text = f"error while mounting volume '{data}': {error.message}"
            raise InternalError(text) from error
        if wanted is not None and not is_mounted(data):
            mount(wanted, data)
        (self._folder / name / _USERS / container_id).touch()
        return MountedVolume(record, data)

    def _unmount(self, name: str, container_id: str) -> None:
        users = self._folder / name / _USERS
        if not users.exists():
            return
        (users / container_id).unlink(missing_ok=True)
        if not self._users(name):
            unmount(self.data_folder(name))

    def _copy_up(self, name: str, image_root: Path, destination: str) -> None:
        try:
            source = open_in_root(image_root, destination, os.O_RDONLY | os.O_DIRECTORY)
        except NotADirectoryError:
            raise InternalError(f"source {image_root}{destination} is not directory") from None
        except OSError:
            return
        user = passing_user()
        try:
            data = self._mount(name, user).path
            try:
                if not any(data.iterdir()):
                    copy_content(source, data)
                    copy_attributes(source, data)
            finally:
                self._unmount(name, user)
        finally:
            os.close(source)

    def _usage(self, name: str) -> VolumeUsage | None:
        try:
            self._read(name)
        except NotFoundError:
            return None
        users = len(self._users(name))
        return VolumeUsage(name=name, size_bytes=measure(self.data_folder(name)), ref_count=users)
