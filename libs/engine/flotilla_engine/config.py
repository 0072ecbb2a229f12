"""What a container runs: ``ContainerConfig`` and ``HealthConfig`` of the Engine API."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from flotilla_engine.model import EngineModel, Int64


def _words(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Words = Annotated[list[str], BeforeValidator(_words)]
"""A command: a list, or one string (Go's ``strslice.StrSlice``)."""


class HealthConfig(EngineModel):
    """``HealthConfig``; durations are nanoseconds, 0 inherits."""

    test: list[str] = Field(default_factory=list)
    interval: Int64 = 0
    timeout: Int64 = 0
    start_period: Int64 = 0
    start_interval: Int64 = 0
    retries: Int64 = 0


class ContainerConfig(EngineModel):
    """``ContainerConfig``, and ``ImageConfig``, which is a part of it.

    ``cmd`` and ``entrypoint`` are None where they were not given: the image's are used then.
    """

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Any] = Field(default_factory=dict)
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] = Field(default_factory=list)
    cmd: Words | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, Any] = Field(default_factory=dict)
    working_dir: str = ""
    entrypoint: Words | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)
    stop_signal: str = ""
    stop_timeout: Int64 | None = None
    shell: Words | None = None
