"""Checks of ``ContainerExec``."""

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.detach_keys import parse_keys
from flotilla_engine.exec import ExecConfig


def check_exec(config: ExecConfig) -> None:
    """Check an exec's configuration.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if not config.cmd:
        raise InvalidArgumentError("No exec command specified")
    parse_keys(config.detach_keys, called="escape")
