"""Chooses the way to make snapshots: overlayfs, or copies where it cannot be had."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from flotilla_runtime_agent.snapshots.copying import CopySnapshots
from flotilla_runtime_agent.snapshots.layers import ImageStoreAddress, LayerFolders
from flotilla_runtime_agent.snapshots.overlay import OverlaySnapshots

_log = logging.getLogger(__name__)


@asynccontextmanager
async def opened(
    root: Path, store: ImageStoreAddress, *, driver: str = "auto"
) -> AsyncIterator[OverlaySnapshots | CopySnapshots]:
    """Open the snapshots below `root`.

    Args:
        root: A folder of this node alone.
        store: Where layers come from.
        driver: `overlay2`, `vfs` or `auto`.
    """
    snapshots = _open(root, LayerFolders(root, store), driver)
    try:
        yield snapshots
    finally:
        await snapshots.close()


def _open(root: Path, layers: LayerFolders, driver: str) -> OverlaySnapshots | CopySnapshots:
    root.mkdir(parents=True, exist_ok=True)
    if driver != "vfs":
        overlay = OverlaySnapshots(root, layers)
        try:
            overlay.open()
        except OSError as error:
            if driver == "overlay2":
                raise
            _log.warning("overlayfs cannot be had, copying instead: %s", error)
        else:
            return overlay
    copies = CopySnapshots(root, layers)
    copies.open()
    return copies
