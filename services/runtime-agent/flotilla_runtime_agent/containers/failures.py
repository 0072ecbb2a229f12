"""What dockerd makes of a runtime's refusal: message, exit code and kind of error."""

from __future__ import annotations

from dataclasses import dataclass

from flotilla_core.errors import FlotillaError, InternalError, InvalidArgumentError, Kind

_NOT_FOUND = (
    "executable file not found",
    "no such file or directory",
    "system cannot find the file specified",
    "failed to run runc create/exec call",
)
_CREATE_PREFIX = "failed to create task for container: failed to create shim task: "


@dataclass(frozen=True)
class StartFailure:
    """A failed start: the error for the caller, and the code that the container keeps."""

    error: FlotillaError
    exit_code: int


def of_create(message: str) -> StartFailure:
    """Judge the runtime's message for a container (moby ``translateContainerdStartErr``)."""
    text = f"{_CREATE_PREFIX}OCI runtime create failed: {message}: unknown"
    lower = text.lower()
    code, error = 128, FlotillaError(Kind.INTERNAL, text)
    if any(phrase in lower for phrase in _NOT_FOUND):
        code, error = 127, InvalidArgumentError(text)
    if "permission denied" in lower or "is a directory" in lower:
        code, error = 126, InvalidArgumentError(text)
    if "not a directory" in lower:
        text += (
            ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the "
            "specified host path exists and is the expected type"
        )
        code, error = 127, InvalidArgumentError(text)
    return StartFailure(error, code)


def of_other(error: FlotillaError) -> StartFailure:
    """Judge a failure on the way to the runtime."""
    return StartFailure(error, 128)


def of_exec(message: str) -> FlotillaError:
    """Return the error of an exec that the runtime refused."""
    text = f"OCI runtime exec failed: {message}: unknown"
    lower = text.lower()
    if any(phrase in lower for phrase in (*_NOT_FOUND, "permission denied")):
        return InvalidArgumentError(text)
    return InternalError(text)
