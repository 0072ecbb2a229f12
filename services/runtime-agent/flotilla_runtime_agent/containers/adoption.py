"""What a new agent does with the containers of a former one.

Memory, disk and kernel agree again afterwards, after any end of the agent or the host.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from flotilla_core.errors import FlotillaError
from flotilla_engine.records import ContainerRecord
from flotilla_runtime_agent.containers import clearing, restarts
from flotilla_runtime_agent.containers.container import Container
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.peers import joining_of
from flotilla_runtime_agent.containers.runs import LOST_EXIT_CODE
from flotilla_runtime_agent.containers.store import Stored
from flotilla_runtime_agent.ports import Joining, Sandbox
from flotilla_runtime_agent.runtime import conmon, oci
from flotilla_runtime_agent.runtime.processes import ProcessRef

_LOG = logging.getLogger(__name__)
_RESTARTS_AT_ONCE = 4


async def prepare(host: Host, found: Sequence[Stored]) -> Mapping[str, ProcessRef]:
    """Clear what belongs to no container, and take the networks of the living over.

    Returns:
        The monitors that run, by container id.
    """
    ids = host.store.ids()
    await host.snapshots.repair(ids)
    monitors = _monitors(host.paths.run)
    await _clear_strays(host, ids, monitors)
    alive = [stored for stored in found if _lives(stored) and stored.record.sandbox_key]
    await host.networks.start([_wired(stored) for stored in alive])
    return monitors


async def adopt(container: Container, monitors: Mapping[str, ProcessRef]) -> bool:
    """Take one container over; tell whether it is to be started now."""
    stored, record = container.stored, container.record
    run = stored.run
    if stored.is_removing:
        stored.is_removing = False
        with suppress(FlotillaError):
            await container.remove(force=True)
        return False
    if run is not None and record.state.pid == run.process.pid and _lives(stored):
        container.execs.adopt()
        container.runs.adopt()
        return False
    if run is not None or record.id in monitors:
        await _ended_unseen(container, monitors.get(record.id))
        return False
    if clearing.has_traces(container.host, stored):
        await clearing.clear(container.host, stored)
    if record.state.restarting:
        container.restarter.restart_later()
        return False
    if _is_wanted(record):
        return True
    if record.state.running:
        await container.runs.ended_unseen(LOST_EXIT_CODE)
    return False


def _is_wanted(record: ContainerRecord) -> bool:
    state = record.state
    return (state.running or state.started_at is not None) and restarts.is_wanted_at_boot(
        record.host_config.restart_policy,
        was_running=state.running,
        was_stopped=record.manually_stopped,
    )


async def restart(containers: Sequence[Container]) -> None:
    """Start containers, a few at once."""
    gate = asyncio.Semaphore(_RESTARTS_AT_ONCE)

    async def start(container: Container) -> None:
        async with gate:
            await container.runs.start_again()

    await asyncio.gather(*(start(container) for container in containers))


async def _ended_unseen(container: Container, monitor: ProcessRef | None) -> None:
    """Its process has ended, or never came to run, or has lost its monitor."""
    stored = container.stored
    code = conmon.exit_code(container.host.paths.bundle(container.id), container.id)
    if monitor is not None:
        monitor.kill()
    if stored.run is not None:
        stored.run.process.ref().kill()
        code = stored.run.exit_code if code is None else code
    if container.record.state.running:
        await container.runs.ended_unseen(LOST_EXIT_CODE if code is None else code)
    else:
        stored.run = None
        await clearing.clear(container.host, stored)
        container.save()


async def _clear_strays(host: Host, ids: Sequence[str], monitors: Mapping[str, ProcessRef]) -> None:
    known = set(ids)
    for container_id, monitor in monitors.items():
        if container_id not in known:
            _LOG.warning("container %s is half made and removed", container_id)
            monitor.kill()
    for runtime in host.runtimes.values():
        for container_id in set(oci.known(runtime)) - known:
            await oci.delete(runtime, container_id)
    run = host.paths.run
    for folder in run.iterdir() if run.exists() else ():
        if len(folder.name) == 64 and folder.name not in known:
            shutil.rmtree(folder, ignore_errors=True)


def _lives(stored: Stored) -> bool:
    run = stored.run
    return run is not None and run.process.ref().is_alive() and run.monitor.ref().is_alive()


def _wired(stored: Stored) -> tuple[Joining, Sandbox]:
    record = stored.record
    joining = joining_of(record, stored.endpoints)
    return joining, Sandbox(record.sandbox_id, Path(record.sandbox_key))


def _monitors(run: Path) -> dict[str, ProcessRef]:
    """Return the monitors of containers (not of execs) whose bundles are in this folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--full-attach" not in words or b"--exec" in words:
            continue
        bundle = (
            Path(words[words.index(b"--bundle") + 1].decode()) if b"--bundle" in words else None
        )
        ref = ProcessRef.of(int(entry.name))
        if bundle is not None and bundle.parent == run and ref is not None:
            found[bundle.name] = ref
    return found
