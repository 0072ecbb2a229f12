"""Snapshots by plain copies, where overlayfs cannot be had: slow, large, but the same to see."""

import asyncio
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from flotilla_core.errors import InternalError, NotFoundError
from flotilla_engine.records import ContainerSize, ImageRecord
from flotilla_oci.diff import is_opaque, is_whiteout
from flotilla_runtime_agent.ports import Snapshot
from flotilla_runtime_agent.snapshots import init_layer
from flotilla_runtime_agent.snapshots.layers import LayerFolders, tree_bytes
from flotilla_runtime_agent.snapshots.mounting import is_mounted, mount, unmount

_MS_BIND = 0x1000


class CopySnapshots:
    """The port `Snapshots` by copies: `snapshots/<container id>/merged` is the container's own."""

    def __init__(self, root: Path, layers: LayerFolders) -> None:
        """Keep snapshots below `root`, copied from these layers."""
        self._root = root
        self._layers = layers

    def open(self) -> None:
        """Make the folders."""
        self._layers.open()
        for name in ("snapshots", "images"):
            (self._root / name).mkdir(exist_ok=True)

    async def close(self) -> None:
        """End what is being fetched."""
        await self._layers.close()

    async def fetch(self, image: ImageRecord) -> None:
        """Have all layers of the image on this node."""
        await self._layers.fetch(image)

    async def prepare(self, container_id: str, image: ImageRecord) -> Snapshot:
        """Make the container's snapshot; layers must be there."""
        if not self._folder(container_id).is_dir():
            await asyncio.to_thread(self._copy, self._folder(container_id), image)
        return await self.get(container_id)

    async def get(self, container_id: str) -> Snapshot:
        """Return the container's snapshot."""
        root = self._folder(container_id) / "merged"
        if not root.is_dir():
            raise NotFoundError(f"no snapshot of container {container_id}")
        return Snapshot(root=root, upper=root, work=root, lower=())

    async def mount(self, container_id: str) -> Path:
        """Return the snapshot's root, which needs no mount."""
        return (await self.get(container_id)).root

    async def unmount(self, container_id: str) -> None:
        """Do nothing: there is no mount."""

    async def remove(self, container_id: str) -> None:
        """Delete the snapshot; its layers stay."""
        folder = self._folder(container_id)
        if folder.exists():
            trash = self._root / "tmp" / secrets.token_hex(8)
            folder.rename(trash)
            await asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True)

    async def size(self, container_id: str) -> ContainerSize:
        """Measure the snapshot."""
        folder = self._folder(container_id)
        total = await asyncio.to_thread(tree_bytes, folder / "merged")
        image_bytes = int(json.loads((folder / "snapshot.json").read_text())["image_bytes"])
        return ContainerSize(rw_bytes=max(0, total - image_bytes), root_fs_bytes=total)

    async def mount_image(self, image: ImageRecord, target: Path) -> None:
        """Bind a copy of the image at target."""
        folder = self._root / "images" / image.id.partition(":")[2]
        if not folder.is_dir():
            await asyncio.to_thread(self._copy, folder, image)
        if not is_mounted(target):
            mount(str(folder / "merged"), str(target), "", flags=_MS_BIND)

    async def release(self, keep: Sequence[ImageRecord]) -> int:
        """Delete layers of images that are not kept: containers have copies."""
        used = {chain_id for image in keep for chain_id in image.chain_ids()}
        return await asyncio.to_thread(self._layers.release, used)

    async def repair(self, container_ids: Sequence[str]) -> None:
        """At start: remove half-made layers and snapshots of containers that are not listed."""
        self._layers.repair()
        known = set(container_ids)
        for folder in list((self._root / "snapshots").iterdir()):
            if folder.name not in known:
                await self.remove(folder.name)

    def _folder(self, container_id: str) -> Path:
        return self._root / "snapshots" / container_id

    def _copy(self, target: Path, image: ImageRecord) -> None:
        folder = self._root / "tmp" / secrets.token_hex(8)
        merged = folder / "merged"
        merged.mkdir(parents=True)
        try:
            for chain_id in image.chain_ids():
                if not self._layers.has(chain_id):
                    raise InternalError(f"layer {chain_id} is not on this node")
                _stack(self._layers.diff(chain_id), merged)
            init_layer.fill(merged)
            notes = {"image_bytes": sum(layer.diff_bytes for layer in image.layers)}
            (folder / "snapshot.json").write_text(json.dumps(notes))
            folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _stack(layer: Path, merged: Path) -> None:
    """Copy a layer onto what lies below it: first what it hides goes, then what it has comes."""
    whiteouts: list[Path] = []
    for current, folders, files in os.walk(layer):
        below = merged / Path(current).relative_to(layer)
        if current != str(layer) and is_opaque(current):
            _remove(below)
        for name in files:
            if is_whiteout((Path(current) / name).lstat()):
                whiteouts.append(below / name)
            if os.path.lexists(below / name):
                _remove(below / name)
        for name in folders:
            if (below / name).is_symlink() or (below / name).is_file():
                _remove(below / name)
    subprocess.run(["cp", "-a", "--reflink=auto", "-T", layer, merged], check=True)
    for path in whiteouts:
        path.unlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        unmount(path)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
