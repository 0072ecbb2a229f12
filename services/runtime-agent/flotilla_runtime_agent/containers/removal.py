"""Removing a container with all that is its own."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from flotilla_core.errors import ConflictError, FlotillaError, InternalError
from flotilla_runtime_agent.containers import clearing
from flotilla_runtime_agent.containers.stopping import KILL_DEADLINE_S, send_signal
from flotilla_runtime_agent.containers.waits import Exit

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container


async def remove(container: Container, *, force: bool = False, volumes: bool = False) -> list[str]:
    """Remove it; returns the anonymous volumes that went with it.

    Raises:
        FlotillaError: With dockerd's text.
    """
    async with container.lock:
        if container.is_gone or container.stored.is_removing:
            raise ConflictError(
                f"removal of container {container.record.name} is already in progress"
            )
        if container.record.state.running and not force:
            raise _refusal(container)
        container.stored.is_removing = True
        container.restarter.cancel()
        container.record.manually_stopped = True
        container.stored.ends_for_good = True
        container.save(report=False)
    try:
        if container.is_live:
            await _kill(container)
        return await _take_away(container, volumes=volumes)
    except BaseException:
        if not container.is_gone:
            container.stored.is_removing = False
            container.save()
        raise


def _refusal(container: Container) -> ConflictError:
    state = container.record.state
    prefix = f'cannot remove container "/{container.record.name}": container is '
    if state.paused:
        return ConflictError(prefix + "paused and must be unpaused first")
    kind = "restarting" if state.restarting else "running"
    return ConflictError(f"{prefix}{kind}: stop the container before removing or force remove")


async def _kill(container: Container) -> None:
    with suppress(FlotillaError):
        await send_signal(container, signal.SIGKILL, is_final=True)
    if not await container.runs.wait(KILL_DEADLINE_S):
        raise InternalError(
            f"cannot remove container {container.id}: could not kill: tried to kill container, but "
            "did not receive an exit event"
        )


async def _take_away(container: Container, *, volumes: bool) -> list[str]:
    async with container.lock:
        await clearing.clear(container.host, container.stored)
        await container.host.snapshots.remove(container.id)
        container.host.volumes.release(container.id)
        gone_volumes = await _remove_volumes(container) if volumes else []
        container.host.store.remove(container.id)
        container.has_gone()
        container.execs.forget()
        container.record.revision += 1
        container.event("destroy")
        container.host.outlet.removed(container.id, container.record.revision, gone_volumes)
        container.broadcast.end()
        container.waits.removed(Exit(container.record.state.exit_code))
        return gone_volumes


async def _remove_volumes(container: Container) -> list[str]:
    removed = []
    for mount in container.stored.mounts:
        if mount.type == "volume" and mount.is_anonymous:
            with suppress(FlotillaError):  # another container uses it
                await container.host.volumes.remove(mount.name)
                removed.append(mount.name)
                attributes = {"driver": mount.driver}
                container.host.outlet.event("volume", "destroy", mount.name, attributes)
    return removed
