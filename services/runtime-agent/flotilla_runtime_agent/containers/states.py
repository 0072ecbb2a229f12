"""Dockerd's words for states, and its refusals."""

from __future__ import annotations

from flotilla_core.errors import ConflictError
from flotilla_engine.state import ContainerState


def status_of(state: ContainerState, *, is_removing: bool) -> str:
    """Return the status that goes with the flags (moby ``State.StateString``)."""
    if state.running:
        if state.paused:
            return "paused"
        return "restarting" if state.restarting else "running"
    if is_removing:
        return "removing"
    if state.dead:
        return "dead"
    return "exited" if state.started_at else "created"


def not_running(container_id: str) -> ConflictError:
    """Return the refusal of what needs a running container."""
    return ConflictError(f"container {container_id} is not running")


def is_restarting(container_id: str) -> ConflictError:
    """Return the refusal of what cannot be done between two runs."""
    return ConflictError(
        f"Container {container_id} is restarting, wait until the container is running"
    )
