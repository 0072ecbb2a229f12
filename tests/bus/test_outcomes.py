"""Tests of flotilla_bus.outcomes."""

import pytest

from flotilla_bus import outcomes
from flotilla_bus.outcomes import Outcome, Outcomes


async def test_outcomes_are_bounded_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "KEPT_AT_MOST", 2)
    runs: list[str] = []
    kept = Outcomes()

    async def ask(request_id: str) -> Outcome:
        async def run() -> Outcome:
            runs.append(request_id)
            return Outcome(request_id.encode())

        return await kept.once(request_id, run)

    for request_id in "abcca":
        assert (await ask(request_id)).payload == request_id.encode()
    assert runs == ["a", "b", "c", "a"]


async def test_outcomes_are_bounded_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "KEPT_BYTES", 10)
    runs: list[str] = []
    kept = Outcomes()

    async def ask(request_id: str) -> None:
        async def run() -> Outcome:
            runs.append(request_id)
            return Outcome(b"four")

        await kept.once(request_id, run)

    for request_id in "abbcca":
        await ask(request_id)
    assert runs == ["a", "b", "c", "a"]


async def test_failed_run_is_run_again() -> None:
    kept = Outcomes()

    async def fail() -> Outcome:
        raise RuntimeError("cancelled, say")

    async def work() -> Outcome:
        return Outcome(b"done")

    with pytest.raises(RuntimeError):
        await kept.once("a", fail)
    assert (await kept.once("a", work)).payload == b"done"
