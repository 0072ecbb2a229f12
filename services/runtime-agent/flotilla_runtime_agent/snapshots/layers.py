"""The layers of this node: one folder per chain id, fetched once, visible only when whole."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from flotilla_core.errors import InternalError, Kind, error_of
from flotilla_engine.records import ImageRecord, Layer
from flotilla_runtime_agent.snapshots.fetch import Order
from flotilla_runtime_agent.snapshots.mounting import unmount

_FETCH_MODULE = "flotilla_runtime_agent.snapshots.fetch"
PIN_S = 60.0
_LINK_LENGTH = 10


@dataclass(frozen=True)
class ImageStoreAddress:
    """Where this node gets layers from.

    Attributes:
        url: Base of the image store's HTTP endpoint, without a path.
        token_file: File with the bearer token; none if empty.
        ca_file: Certificates that the store's must be signed by; the system's if empty.
    """

    url: str
    token_file: str = ""
    ca_file: str = ""


class LayerFolders:
    """Unpacked layers on disk.

    `layers/<chain id>/diff` is the content, `layers/<chain id>/link` names the short symbolic
    link `l/<name>` to it, which keeps the mount options of images with many layers short.

    Attributes:
        has_spared: Whether the last release spared layers only for their recent use.
    """

    def __init__(self, root: Path, store: ImageStoreAddress, *, parallel: int = 3) -> None:
        """Keep layers below `root`; fetch so many at the same time."""
        self._root = root
        self._store = store
        self._slots = asyncio.Semaphore(parallel)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._pinned: dict[str, float] = {}
        self._wanted: Counter[str] = Counter()
        self.has_spared = False

    def open(self) -> None:
        """Make the folders and drop what was left half-made."""
        for mounted in self._temporary.glob("*/merged"):
            unmount(mounted)
        shutil.rmtree(self._temporary, ignore_errors=True)
        for folder in (self._layers, self._links, self._temporary):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def _layers(self) -> Path:
        return self._root / "layers"

    @property
    def _links(self) -> Path:
        return self._root / "l"

    @property
    def _temporary(self) -> Path:
        return self._root / "tmp"

    def diff(self, chain_id: str) -> Path:
        """Return the layer's folder, whether it is there or not."""
        return self._layers / chain_id.partition(":")[2] / "diff"

    def link(self, chain_id: str) -> str:
        """Return the layer's short name, relative to the root."""
        return f"l/{(self.diff(chain_id).parent / 'link').read_text()}"

    def has(self, chain_id: str) -> bool:
        """Tell whether the layer is there."""
        return self.diff(chain_id).parent.is_dir()

    def pin(self, chain_ids: Collection[str]) -> None:
        """Keep the layers for a while, whatever `release` is told."""
        until = time.monotonic() + PIN_S
        self._pinned |= dict.fromkeys(chain_ids, until)

    async def fetch(self, image: ImageRecord) -> None:
        """Have the image's layers here.

        Raises:
            FlotillaError: If the image store lacks one or does not answer.
        """
        chain_ids = image.chain_ids()
        self._wanted.update(chain_ids)
        try:
            await self._fetch_missing(chain_ids, image.layers)
        finally:
            self._wanted.subtract(chain_ids)
            self._wanted += Counter()  # drops what nobody wants any more
        self.pin(chain_ids)

    async def _fetch_missing(self, chain_ids: list[str], layers: list[Layer]) -> None:
        waiting = []
        for chain_id, layer in zip(chain_ids, layers, strict=True):
            if self.has(chain_id):
                continue
            task = self._under_way.get(chain_id)
            if task is None:
                task = asyncio.create_task(self._fetch(chain_id, layer))
                self._under_way[chain_id] = task
                task.add_done_callback(partial(self._fetched, chain_id))
            waiting.append(asyncio.shield(task))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _fetched(self, chain_id: str, _: asyncio.Task[None]) -> None:
        self._under_way.pop(chain_id, None)

    async def close(self) -> None:
        """End what is being fetched."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, chain_id: str, layer: Layer) -> None:
        folder = self._temporary / secrets.token_hex(8)
        diff = folder / "diff"
        await asyncio.to_thread(diff.mkdir, parents=True)
        try:
            async with self._slots:
                await self._run(
                    Order(
                        url=f"{self._store.url.rstrip('/')}/v2/fleet/blobs/{layer.digest}",
                        token=self._token(),
                        ca_file=self._store.ca_file,
                        folder=str(diff),
                        diff_id=layer.diff_id,
                        size_bytes=layer.size_bytes,
                    )
                )
            self.add(chain_id, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def add(self, chain_id: str, folder: Path) -> None:
        """Make a whole layer visible; `folder` holds its `diff` and is moved."""
        target = self.diff(chain_id).parent
        (folder / "link").write_text(self._linked(target.name))
        folder.rename(target)

    def _linked(self, layer: str) -> str:
        """Return the name of a short link to a layer, made if it is missing."""
        name = layer[:_LINK_LENGTH]
        own = Path(f"../layers/{layer}/diff")
        while (self._links / name).is_symlink() and (self._links / name).readlink() != own:
            name = secrets.token_hex(_LINK_LENGTH // 2)
        with contextlib.suppress(FileExistsError):
            (self._links / name).symlink_to(own)
        return name

    async def _run(self, order: Order) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _FETCH_MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, problems = await process.communicate(json.dumps(asdict(order)).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            last = problems.decode(errors="replace").strip().rpartition("\n")[2]
            raise InternalError(f"unpacking layer {order.diff_id} failed: {last}")
        result = json.loads(output)
        if "error" in result:
            raise error_of(Kind(result["kind"]), result["error"])

    def _token(self) -> str:
        return Path(self._store.token_file).read_text().strip() if self._store.token_file else ""

    def release(self, used: Collection[str]) -> int:
        """Delete layers that are not used, pinned or wanted; returns their bytes."""
        now = time.monotonic()
        self._pinned = {key: until for key, until in self._pinned.items() if until > now}
        self.has_spared = False
        freed = 0
        for folder in list(self._layers.iterdir()):
            chain_id = f"sha256:{folder.name}"
            if chain_id in used:
                continue
            if chain_id in self._pinned or chain_id in self._wanted:
                self.has_spared = True
                continue
            freed += tree_bytes(folder / "diff")
            trash = self._temporary / secrets.token_hex(8)
            (self._links / (folder / "link").read_text()).unlink(missing_ok=True)
            folder.rename(trash)
            shutil.rmtree(trash, ignore_errors=True)
        return freed

    def repair(self) -> None:
        """Make the short links whole again, also where a power cut has emptied what names one."""
        for folder in self._layers.iterdir():
            note = folder / "link"
            name = note.read_text() if note.exists() else ""
            if not name:
                note.write_text(self._linked(folder.name))
            elif not (self._links / name).is_symlink():
                (self._links / name).symlink_to(f"../layers/{folder.name}/diff")


def tree_bytes(folder: Path) -> int:
    """Sum up the sizes of files in a folder, each inode once (as dockerd's directory.Size)."""
    total = 0
    seen: set[tuple[int, int]] = set()
    stack = [str(folder)]
    while stack:
        try:
            entries = list(os.scandir(stack.pop()))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                stack.append(entry.path)
                continue
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                key = (status.st_dev, status.st_ino)
                if status.st_nlink > 1 and key in seen:
                    continue
                seen.add(key)
                total += status.st_size
    return total
