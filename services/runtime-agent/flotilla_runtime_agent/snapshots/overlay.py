"""Snapshots by overlayfs: the image's layers below, one upper folder per container."""

import asyncio
import contextlib
import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from flotilla_core.errors import InternalError, NotFoundError
from flotilla_engine.records import ContainerSize, ImageRecord
from flotilla_runtime_agent.ports import Snapshot
from flotilla_runtime_agent.snapshots import init_layer
from flotilla_runtime_agent.snapshots.layers import PIN_S, LayerFolders, tree_bytes
from flotilla_runtime_agent.snapshots.mounting import OverlayMounter, is_mounted, overlay, unmount

_EMPTY = "empty"
_SCRATCH = "scratch"


@dataclass(frozen=True)
class _Notes:
    """What `snapshot.json` says."""

    init: str
    chain_ids: list[str]
    image_bytes: int


class OverlaySnapshots:
    """The port `Snapshots` by overlayfs.

    `snapshots/<container id>` holds `upper`, `work`, `merged` and `snapshot.json`, which names
    the layers. `init/<chain id>` is the init layer of an image's containers.
    """

    def __init__(self, root: Path, layers: LayerFolders) -> None:
        """Keep snapshots below `root`, with these layers."""
        self._root = root
        self._layers = layers
        self._init_lock = asyncio.Lock()
        self._again: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Make the folders.

        Raises:
            OSError: If overlayfs cannot be had here.
        """
        self._layers.open()
        for name in ("snapshots", "init", _EMPTY):
            (self._root / name).mkdir(exist_ok=True)
        self._mounter = OverlayMounter(self._root)
        trial = self._root / "tmp" / "trial"
        for name in ("upper", "work", "merged"):
            (trial / name).mkdir(parents=True)
        try:
            overlay(
                [str(self._root / _EMPTY)],
                str(trial / "merged"),
                str(trial / "upper"),
                str(trial / "work"),
            )
            unmount(trial / "merged")
        finally:
            shutil.rmtree(trial)

    async def close(self) -> None:
        """End the helpers; mounts stay."""
        if self._again is not None:
            self._again.cancel()
        await self._layers.close()
        self._mounter.close()

    async def fetch(self, image: ImageRecord) -> None:
        """Have all layers of the image on this node."""
        await self._layers.fetch(image)

    async def prepare(self, container_id: str, image: ImageRecord) -> Snapshot:
        """Make the container's snapshot (not mounted); layers must be there."""
        chain_ids = image.chain_ids()
        missing = [chain_id for chain_id in chain_ids if not self._layers.has(chain_id)]
        if missing:
            raise InternalError(f"layer {missing[0]} is not on this node")
        self._layers.pin(chain_ids)
        init = await self._init(chain_ids)
        if not self._folder(container_id).is_dir():
            await asyncio.to_thread(self._make, container_id, init, image)
        return await self.get(container_id)

    async def get(self, container_id: str) -> Snapshot:
        """Return the container's snapshot."""
        folder = self._folder(container_id)
        notes = self._notes(container_id)
        lower = (
            self._root / "init" / notes.init / "diff",
            *(self._layers.diff(chain_id) for chain_id in reversed(notes.chain_ids)),
        )
        upper, work, merged = folder / "upper", folder / "work", folder / "merged"
        return Snapshot(
            root=merged,
            upper=upper,
            work=work,
            lower=lower,
            graph_data={
                "LowerDir": ":".join(str(path) for path in lower),
                "MergedDir": str(merged),
                "UpperDir": str(upper),
                "WorkDir": str(work),
            },
        )

    async def mount(self, container_id: str) -> Path:
        """Mount the snapshot if it is not, and return its root."""
        merged = self._folder(container_id) / "merged"
        notes = self._notes(container_id)
        if is_mounted(merged):
            return merged
        own = f"snapshots/{container_id}"
        await self._mounter.overlay(
            [f"init/{notes.init}/diff", *self._lower(notes.chain_ids)],
            merged,
            upper=f"{own}/upper",
            work=f"{own}/work",
        )
        return merged

    async def unmount(self, container_id: str) -> None:
        """Unmount the snapshot, if it is mounted."""
        await asyncio.to_thread(unmount, self._folder(container_id) / "merged")

    async def remove(self, container_id: str) -> None:
        """Unmount and delete the snapshot; its layers stay."""
        await asyncio.to_thread(self._remove, container_id)

    async def size(self, container_id: str) -> ContainerSize:
        """Measure the snapshot."""
        notes = self._notes(container_id)
        changed = await asyncio.to_thread(tree_bytes, self._folder(container_id) / "upper")
        return ContainerSize(rw_bytes=changed, root_fs_bytes=changed + notes.image_bytes)

    async def mount_image(self, image: ImageRecord, target: Path) -> None:
        """Mount an image's layers read-only at target."""
        if is_mounted(target):
            return
        self._layers.pin(image.chain_ids())
        await self._mounter.overlay([*self._lower(image.chain_ids()), _EMPTY], target)

    async def release(self, keep: Sequence[ImageRecord]) -> int:
        """Delete layers that no snapshot and none of these images uses; returns bytes."""
        used = {chain_id for image in keep for chain_id in image.chain_ids()}
        for folder in self._all():
            with contextlib.suppress(NotFoundError):
                used.update(self._notes(folder.name).chain_ids)
        freed = await asyncio.to_thread(self._layers.release, used)
        for folder in list((self._root / "init").iterdir()):
            if folder.name != _SCRATCH and not self._layers.has(f"sha256:{folder.name}"):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        if self._layers.has_spared and (self._again is None or self._again.done()):
            self._again = asyncio.create_task(self._release_later(tuple(keep)))
        return freed

    async def _release_later(self, keep: Sequence[ImageRecord]) -> None:
        """Delete what was in use too recently; a layer that came since is fetched anew."""
        await asyncio.sleep(PIN_S)
        self._again = None
        await self.release(keep)

    async def repair(self, container_ids: Sequence[str]) -> None:
        """At start: remove half-made layers and snapshots of containers that are not listed."""
        await asyncio.to_thread(self._layers.repair)
        known = set(container_ids)
        for folder in self._all():
            if folder.name not in known:
                await self.remove(folder.name)

    def _folder(self, container_id: str) -> Path:
        return self._root / "snapshots" / container_id

    def _all(self) -> list[Path]:
        return [path for path in (self._root / "snapshots").iterdir() if path.is_dir()]

    def _notes(self, container_id: str) -> _Notes:
        try:
            text = (self._folder(container_id) / "snapshot.json").read_text()
        except FileNotFoundError as error:
            raise NotFoundError(f"no snapshot of container {container_id}") from error
        return _Notes(**json.loads(text))

    def _lower(self, chain_ids: list[str]) -> list[str]:
        return [self._layers.link(chain_id) for chain_id in reversed(chain_ids)]

    def _make(self, container_id: str, init: str, image: ImageRecord) -> None:
        folder = self._root / "tmp" / secrets.token_hex(8)
        folder.mkdir()
        for name in ("upper", "work", "merged"):
            (folder / name).mkdir(mode=0o755)
            (folder / name).chmod(0o755)
        image_bytes = sum(layer.diff_bytes for layer in image.layers)
        notes = _Notes(init, image.chain_ids(), image_bytes)
        (folder / "snapshot.json").write_text(json.dumps(asdict(notes)))
        folder.rename(self._folder(container_id))

    def _remove(self, container_id: str) -> None:
        folder = self._folder(container_id)
        if not folder.exists():
            return
        unmount(folder / "merged")
        trash = self._root / "tmp" / secrets.token_hex(8)
        folder.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)

    async def _init(self, chain_ids: list[str]) -> str:
        """Return the name of the init layer on top of these layers, made at first use."""
        name = chain_ids[-1].partition(":")[2] if chain_ids else _SCRATCH
        async with self._init_lock:
            if not (self._root / "init" / name).is_dir():
                await self._make_init(name, chain_ids)
        return name

    async def _make_init(self, name: str, chain_ids: list[str]) -> None:
        key = secrets.token_hex(8)
        folder = self._root / "tmp" / key
        for part in ("diff", "work", "merged"):
            await asyncio.to_thread((folder / part).mkdir, parents=True)
        await self._mounter.overlay(
            [*self._lower(chain_ids), _EMPTY],
            folder / "merged",
            upper=f"tmp/{key}/diff",
            work=f"tmp/{key}/work",
        )
        try:
            await asyncio.to_thread(init_layer.fill, folder / "merged")
        finally:
            await asyncio.to_thread(unmount, folder / "merged")
        for part in ("work", "merged"):
            await asyncio.to_thread(shutil.rmtree, folder / part)
        await asyncio.to_thread(folder.rename, self._root / "init" / name)
