"""Health checks of one running container, as dockerd's monitor does them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flotilla_core.clock import now
from flotilla_core.errors import FlotillaError
from flotilla_core.ids import new_exec_id
from flotilla_engine.config import HealthConfig
from flotilla_engine.exec import ExecConfig
from flotilla_engine.state import Health, HealthcheckResult
from flotilla_runtime_agent.containers.exec import Exec

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container

_SECOND = 1_000_000_000
_KINDS = ("CMD", "CMD-SHELL")  # any other one is no check
_KEPT_RESULTS = 5
_OUTPUT_LIMIT = 4096


class HealthMonitor:
    """Probes as long as the container runs."""

    def __init__(self, container: Container) -> None:
        """Probe nothing yet."""
        self._container = container
        self._task: asyncio.Task[None] | None = None

    def _config(self) -> HealthConfig | None:
        config = self._container.record.config.healthcheck
        if config is None or not config.test or config.test[0] not in _KINDS:
            return None
        return config

    def begin(self) -> None:
        """A new run: nothing is known of its health; the last results stay."""
        state = self._container.record.state
        if self._config() is None:
            state.health = None
            return
        log = state.health.log if state.health else []
        state.health = Health(status="starting", failing_streak=0, log=log)

    def start(self) -> None:
        """Probe from now on."""
        config = self._config()
        if config is not None:
            name = f"health {self._container.id[:12]}"
            self._task = self._container.host.background.start(self._probe_all(config), name)

    def stop(self) -> None:
        """The run is over: what was healthy is so no longer."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        health = self._container.record.state.health
        if health is not None:
            health.status = "unhealthy"

    async def _probe_all(self, config: HealthConfig) -> None:
        while True:
            await asyncio.sleep(self._pause_s(config))
            result = await self._probe(config)
            if result is not None:
                self._judge(config, result)

    def _pause_s(self, config: HealthConfig) -> float:
        interval = config.interval or 30 * _SECOND
        state = self._container.record.state
        if state.started_at is None or state.health is None or state.health.status != "starting":
            return interval / _SECOND
        since_start = (now() - state.started_at).total_seconds() * _SECOND
        if since_start >= config.start_period:
            return interval / _SECOND
        return (config.start_interval or 5 * _SECOND) / _SECOND

    async def _probe(self, config: HealthConfig) -> HealthcheckResult | None:
        """Run the check once; None while it cannot be run (paused, between runs)."""
        container = self._container
        shell = container.record.config.shell or ["/bin/sh", "-c"]
        kind, *words = config.test
        command = [*shell, *words] if kind == "CMD-SHELL" else words
        asked = ExecConfig(
            attach_stdout=True,
            attach_stderr=True,
            cmd=command,
            user=container.record.config.user,
        )
        started = now()
        try:
            probe = container.execs.create(new_exec_id(self._container.id), asked)
            probe.claim()
        except FlotillaError:
            return None
        timeout_s = (config.timeout or 30 * _SECOND) / _SECOND
        try:
            async with asyncio.timeout(timeout_s):
                code, output = await _run(probe)
        except TimeoutError:
            probe.kill()
            code = -1
            output = f"Health check exceeded timeout ({_shown(timeout_s)})"
        except asyncio.CancelledError:
            probe.kill()
            raise
        except FlotillaError as error:
            code, output = -1, error.message
        return HealthcheckResult(start=started, end=now(), exit_code=code, output=output)

    def _judge(self, config: HealthConfig, result: HealthcheckResult) -> None:
        state = self._container.record.state
        if state.health is None or not state.running:
            return
        health = state.health.model_copy()
        before = health.status
        health.log = [*health.log, result][-_KEPT_RESULTS:]
        if result.exit_code == 0:
            health.failing_streak, health.status = 0, "healthy"
        elif not self._is_excused(config, result):
            health.failing_streak += 1
            if health.failing_streak >= (config.retries or 3):
                health.status = "unhealthy"
        self._container.set_health(health, report=health.status != before)
        if health.status != before:
            self._container.event(f"health_status: {health.status}")

    def _is_excused(self, config: HealthConfig, result: HealthcheckResult) -> bool:
        """Whether a failure falls into the start period of a container never yet healthy."""
        state = self._container.record.state
        if state.health is None or state.health.status != "starting":
            return False
        if state.started_at is None or result.start is None:
            return False
        since_start = (result.start - state.started_at).total_seconds() * _SECOND
        return since_start < config.start_period


def _shown(seconds: float) -> str:
    """Return a duration as Go writes it."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"


async def _run(probe: Exec) -> tuple[int, str]:
    client = probe.broadcast.subscribe()
    try:
        await probe.start(tty=False)
        output = bytearray()
        while packets := await client.read():
            for _, data in packets:
                output += data[: max(0, _OUTPUT_LIMIT + 1 - len(output))]
        await probe.ended.wait()
    finally:
        client.close()
    text = bytes(output[:_OUTPUT_LIMIT]).decode(errors="replace")
    if len(output) > _OUTPUT_LIMIT:
        text += "..."
    return probe.record.exit_code or 0, text
