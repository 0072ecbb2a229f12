"""Taking away what a run has needed."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress

from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.sources import image_mount_folder
from flotilla_runtime_agent.containers.store import Stored
from flotilla_runtime_agent.runtime import cgroup, mounting, oci
from flotilla_runtime_agent.runtime.conmon import Monitored

_LOG = logging.getLogger(__name__)


async def discard(monitored: Monitored) -> None:
    """End a process that is not to run after all, and its monitor."""
    monitored.process.kill()
    if monitored.child is not None:
        await monitored.child.wait()


def has_traces(host: Host, stored: Stored) -> bool:
    """Whether there may be something for ``clear``; the bundle is made first and goes last."""
    record = stored.record
    is_bundled = host.paths.bundle(record.id).exists()
    return is_bundled or bool(record.sandbox_id) or record.state.running


async def clear(host: Host, stored: Stored) -> None:
    """Take away everything that a run has needed; calling it twice is harmless."""
    record = stored.record
    bundle = host.paths.bundle(record.id)
    runtime = None
    with suppress(InvalidArgumentError):  # it is not configured any more
        runtime = host.runtime(record.host_config.runtime)
    try:
        await cgroup.remove(host.cgroup(record))
    except TimeoutError:
        _LOG.error("container %s: processes in its cgroup do not end", record.id)
    if runtime is not None:
        await oci.delete(runtime, record.id)
    try:
        if record.host_config.network_mode != "host":
            await host.networks.detach(record.id)
    except FlotillaError:
        _LOG.exception("container %s: network not detached", record.id)
    folder = host.store.folder(record.id)
    for mount in stored.mounts:
        if mount.type == "volume":
            await host.volumes.unmount(mount.name, record.id)
        elif mount.type == "image":
            mounting.unmount(image_mount_folder(folder, mount))
    if record.host_config.ipc_mode == "shareable":
        mounting.unmount(folder / "shm")
    await host.snapshots.unmount(record.id)
    shutil.rmtree(bundle, ignore_errors=True)
