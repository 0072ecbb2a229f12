"""How a container is: ``ContainerState`` and ``Health`` of the Engine API."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from flotilla_engine.model import EngineModel, Int64

Time = Annotated[datetime, Field(strict=False)]


class HealthcheckResult(EngineModel):
    """``HealthcheckResult``: one probe."""

    start: Time | None = None
    end: Time | None = None
    exit_code: Int64 = 0
    output: str = ""


class Health(EngineModel):
    """``Health``: none, starting, healthy or unhealthy, and the last probes, oldest first."""

    status: str = "none"
    failing_streak: Int64 = 0
    log: list[HealthcheckResult] = Field(default_factory=list)


class ContainerState(EngineModel):
    """``ContainerState``; times are None (the year 1 on the wire) until they come."""

    status: str = "created"
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = Field(default=False, alias="OOMKilled")
    dead: bool = False
    pid: Int64 = 0
    exit_code: Int64 = 0
    error: str = ""
    started_at: Time | None = None
    finished_at: Time | None = None
    health: Health | None = None
