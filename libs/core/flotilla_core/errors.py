"""The one taxonomy of errors; each wire maps its kinds in a single module of its own."""

from __future__ import annotations

import errno
import os
from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """What an error tells the caller to do next."""

    NOT_MODIFIED = "not-modified"
    INVALID_ARGUMENT = "invalid-argument"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission-denied"
    NOT_FOUND = "not-found"
    ALREADY_EXISTS = "already-exists"
    CONFLICT = "conflict"
    NOT_IMPLEMENTED = "not-implemented"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline-exceeded"


class FlotillaError(Exception):
    """An error with a kind, which decides its status, and a message for the user.

    Attributes:
        kind: What the caller may do about it.
        message: The text shown to the user, in Docker's words where Docker has some.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        """Make an error of this kind."""
        super().__init__(message)
        self.kind = kind
        self.message = message

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by kind and message, whatever the subclass's own signature."""
        return error_of, (self.kind, self.message)


class _KindError(FlotillaError):
    """An error whose class says its kind."""

    KIND: ClassVar[Kind]

    def __init__(self, message: str) -> None:
        super().__init__(self.KIND, message)


class NotModifiedError(_KindError):
    """It is already so; nothing was done."""

    KIND = Kind.NOT_MODIFIED


class InvalidArgumentError(_KindError):
    """The request is wrong and must be corrected."""

    KIND = Kind.INVALID_ARGUMENT


class UnauthenticatedError(_KindError):
    """Credentials are missing or wrong."""

    KIND = Kind.UNAUTHENTICATED


class PermissionDeniedError(_KindError):
    """The caller is known and may not do this."""

    KIND = Kind.PERMISSION_DENIED


class NotFoundError(_KindError):
    """What was asked for does not exist."""

    KIND = Kind.NOT_FOUND


class AlreadyExistsError(_KindError):
    """The name is taken."""

    KIND = Kind.ALREADY_EXISTS


class ConflictError(_KindError):
    """The state of the object does not allow this."""

    KIND = Kind.CONFLICT


class NotImplementedYetError(_KindError):
    """Flotilla does not offer this."""

    KIND = Kind.NOT_IMPLEMENTED


class InternalError(_KindError):
    """A fault of ours or of the host."""

    KIND = Kind.INTERNAL


class UnavailableError(_KindError):
    """Nobody listened: nothing was done, and a retry is safe."""

    KIND = Kind.UNAVAILABLE


class DeadlineExceededError(_KindError):
    """No answer in time: the outcome is unknown."""

    KIND = Kind.DEADLINE_EXCEEDED


_OF_THE_HOST = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)


def unexpected(error: Exception) -> InternalError:
    """Return what a user is told of an error that nobody foresaw.

    A bug is told without its details; what the host's operator can mend is named.
    """
    if isinstance(error, OSError) and error.errno in _OF_THE_HOST:
        return InternalError(os.strerror(error.errno).lower())
    return InternalError("internal error")


_BY_KIND: dict[Kind, type[_KindError]] = {
    subclass.KIND: subclass for subclass in _KindError.__subclasses__()
}


def error_of(kind: Kind, message: str) -> FlotillaError:
    """Return the error of that kind, as the subclass that stands for it."""
    return _BY_KIND[kind](message)
