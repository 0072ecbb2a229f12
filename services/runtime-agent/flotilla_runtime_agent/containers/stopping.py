"""Stopping, killing, restarting and freezing a container, in dockerd's order and words."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from flotilla_core.errors import (
    ConflictError,
    FlotillaError,
    InternalError,
    InvalidArgumentError,
    NotModifiedError,
)
from flotilla_runtime_agent.containers.signals import number_of
from flotilla_runtime_agent.containers.states import is_restarting, not_running
from flotilla_runtime_agent.containers.waits import Exit
from flotilla_runtime_agent.runtime import cgroup

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container

_DEFAULT_STOP_TIMEOUT_S = 10
KILL_DEADLINE_S = 15
"""How long a process may take to end after SIGKILL."""


async def stop(container: Container, *, signal_name: str | None, timeout_s: int | None) -> None:
    """Stop it: its signal, and after the time SIGKILL.

    Raises:
        FlotillaError: NOT_MODIFIED if it does not run.
    """
    if not container.record.state.running:
        raise NotModifiedError("container already stopped")
    chosen = signal_name or container.record.config.stop_signal or "TERM"
    number = number_of(chosen)
    with container.runs.stop_expected():
        await _stop(container, number, _stop_timeout(container, timeout_s))


def _stop_timeout(container: Container, timeout_s: int | None) -> int:
    if timeout_s is not None:
        return timeout_s
    own = container.record.config.stop_timeout
    return _DEFAULT_STOP_TIMEOUT_S if own is None else own


async def _stop(container: Container, number: int, timeout_s: int) -> None:
    if await _stopped_between_runs(container):
        return
    with suppress(FlotillaError):
        await send_signal(container, number, is_final=True)
    if not await container.runs.wait(timeout_s if timeout_s >= 0 else None):
        with suppress(FlotillaError):
            await send_signal(container, signal.SIGKILL, is_final=True)
        if not await container.runs.wait(KILL_DEADLINE_S):
            raise InternalError(
                f"cannot stop container: {container.id}: tried to kill container, "
                "but did not receive an exit event"
            )


async def _stopped_between_runs(container: Container) -> bool:
    """End the wait for the next run, if that is where it is."""
    async with container.lock:
        container.record.manually_stopped = True
        container.stored.ends_for_good = True
        if container.is_live:
            return False
        container.restarter.cancel()
        state = container.record.state
        was_restarting = state.restarting
        state.running = state.restarting = False
        container.save()
        if was_restarting:
            container.waits.exited(Exit(state.exit_code))
            container.restarter.remove_if_wanted()
        return True


async def kill(container: Container, signal_name: str, reference: str) -> None:
    """Send a signal; with SIGKILL wait for the end.

    Raises:
        FlotillaError: With dockerd's text.
    """
    shown = reference or container.record.name
    try:
        number = number_of(signal_name)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"cannot kill container: {shown}: {error.message}") from error
    if not container.record.state.running:
        raise ConflictError(
            f"cannot kill container: {shown}: container {container.id} is not running"
        )
    own = container.record.config.stop_signal
    is_final = number == signal.SIGKILL or not own or number == number_of(own)
    if is_final and await _stopped_if_restarting(container):
        return
    await send_signal(container, number, is_final=is_final)
    if number == signal.SIGKILL:
        await container.runs.wait(KILL_DEADLINE_S)


async def _stopped_if_restarting(container: Container) -> bool:
    return container.record.state.restarting and await _stopped_between_runs(container)


async def send_signal(container: Container, number: int, *, is_final: bool) -> None:
    """Send a signal; after a final one the restart policy has no say.

    Raises:
        ConflictError: If there is no process.
    """
    async with container.lock:
        process = container.process
        if process is None:
            raise not_running(container.id)
        container.record.manually_stopped = True
        container.stored.ends_for_good |= is_final
        container.host.store.save(container.stored)
        process.kill(number)
        container.event("kill", signal=str(number))
        if is_final and container.record.state.paused:
            await _thaw(container, is_told=number != signal.SIGKILL)


async def restart(container: Container, *, signal_name: str | None, timeout_s: int | None) -> None:
    """Stop it if it runs, and start it. Raises: FlotillaError."""
    container.restarter.keeps_once = True
    try:
        if container.record.state.running:
            await stop(container, signal_name=signal_name, timeout_s=timeout_s)
    finally:
        container.restarter.keeps_once = False
    await container.start()
    container.event("restart")


async def pause(container: Container) -> None:
    """Freeze it. Raises: FlotillaError."""
    async with container.lock:
        state = container.record.state
        if not state.running:
            raise not_running(container.id)
        if state.paused:
            raise ConflictError(f"Container {container.id} is already paused")
        if state.restarting:
            raise is_restarting(container.id)
        try:
            await cgroup.freeze(container.cgroup)
        except (OSError, TimeoutError) as error:
            with suppress(OSError, TimeoutError):
                await cgroup.thaw(container.cgroup)
            raise InternalError(f"cannot pause container {container.id}: {error}") from error
        state.paused = True
        container.save()
        container.event("pause")


async def unpause(container: Container) -> None:
    """Let it go on. Raises: FlotillaError."""
    async with container.lock:
        if not container.record.state.paused:
            raise ConflictError(f"Container {container.id} is not paused")
        await _thaw(container)
        container.save()


async def _thaw(container: Container, *, is_told: bool = True) -> None:
    try:
        await cgroup.thaw(container.cgroup)
    except (OSError, TimeoutError) as error:
        raise InternalError(f"cannot unpause container {container.id}: {error}") from error
    container.record.state.paused = False
    if is_told:
        container.event("unpause")
