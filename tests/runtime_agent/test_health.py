"""Health checks on a real runtime (``containers/health.py``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flotilla_engine.config import HealthConfig

if TYPE_CHECKING:
    from tests.runtime_agent.conftest import SmallNode

    from flotilla_runtime_agent.containers.container import Container

_MS = 1_000_000


async def _until(container: Container, status: str) -> None:
    async with asyncio.timeout(60):
        while True:
            health = container.record.state.health
            if health is not None and health.status == status:
                return
            await asyncio.sleep(0.01)


async def test_status_follows_the_probes(node: SmallNode) -> None:
    check = HealthConfig(
        test=["CMD-SHELL", "echo looked; test -f /tmp/ok"],
        interval=50 * _MS,
        retries=2,
        timeout=30_000 * _MS,
    )
    container = await node.run("sleep", "1000", healthcheck=check)
    await _until(container, "unhealthy")
    health = container.record.state.health
    assert health is not None
    assert health.failing_streak >= 2
    assert (health.log[-1].exit_code, health.log[-1].output) == (1, "looked\n")
    root = await node.host.snapshots.mount(container.id)
    (root / "tmp/ok").write_text("")
    await _until(container, "healthy")
    changes = [a for a in node.heard.actions() if a.startswith("health_status")]
    assert changes[:2] == ["health_status: unhealthy", "health_status: healthy"]


async def test_slow_probe_is_a_failure(node: SmallNode) -> None:
    check = HealthConfig(test=["CMD", "sleep", "1000"], interval=50 * _MS, timeout=100 * _MS)
    check.retries = 1
    container = await node.run("sleep", "1000", healthcheck=check)
    await _until(container, "unhealthy")
    health = container.record.state.health
    assert health is not None
    assert health.log[0].exit_code == -1
    assert health.log[0].output == "Health check exceeded timeout (100ms)"
