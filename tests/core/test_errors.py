"""Tests of flotilla_core.errors."""

import errno
import os
import pickle

import pytest

from flotilla_core.errors import (
    ConflictError,
    FlotillaError,
    Kind,
    NotFoundError,
    error_of,
    unexpected,
)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_its_error(kind: Kind) -> None:
    error = error_of(kind, "text")
    assert isinstance(error, FlotillaError)
    assert type(error) is not FlotillaError
    assert (error.kind, error.message, str(error)) == (kind, "text", "text")


def test_subclass_says_the_kind() -> None:
    assert NotFoundError("x").kind is Kind.NOT_FOUND
    assert isinstance(error_of(Kind.CONFLICT, "x"), ConflictError)


def test_error_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(NotFoundError("gone")))
    assert isinstance(copy, NotFoundError)
    assert copy.message == "gone"


def test_of_what_nobody_foresaw_the_hosts_faults_are_named_and_bugs_are_not() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/place")
    assert unexpected(full).message == "no space left on device"
    for bug in (ValueError("secret"), OSError("secret"), OSError(errno.ENOENT, "x", "secret")):
        assert unexpected(bug).message == "internal error"
