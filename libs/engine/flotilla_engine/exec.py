"""Bodies of the exec endpoints, and how inspect shows an exec's process."""

from pydantic import Field

from flotilla_engine.model import EngineModel


class ExecConfig(EngineModel):
    """Body of ``ContainerExec``."""

    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach: bool = False
    detach_keys: str = ""
    tty: bool = False
    console_size: list[int] | None = None  # height, width
    env: list[str] = Field(default_factory=list)
    cmd: list[str] | None = None
    privileged: bool = False
    user: str = ""
    working_dir: str = ""


class ExecStartConfig(EngineModel):
    """Body of ``ExecStart``."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None  # height, width
