"""Tests of flotilla_bus.errors."""

import pytest

from flotilla_bus import errors
from flotilla_core.errors import InternalError, Kind, error_of


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_survives_both_forms(kind: Kind) -> None:
    error = error_of(kind, "a b: ü\n% %25")
    for copy in (
        errors.from_headers(errors.to_headers(error)),
        errors.from_bytes(errors.to_bytes(error)),
    ):
        assert copy is not None
        assert (copy.kind, copy.message) == (kind, error.message)


def test_answer_without_error_headers_is_none() -> None:
    assert errors.from_headers(None) is None
    assert errors.from_headers({"Other": "x"}) is None


def test_unknown_kind_is_internal() -> None:
    assert isinstance(errors.from_bytes(b"from-the-future text"), InternalError)
