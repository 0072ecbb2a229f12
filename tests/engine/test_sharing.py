"""Twin of flotilla_engine.sharing."""

from flotilla_engine.host_config import HostConfig
from flotilla_engine.sharing import Shared


def test_equal_models_are_one_as_long_as_they_are_used() -> None:
    shared: Shared[HostConfig] = Shared()
    first = shared.of(HostConfig(memory=7))
    assert shared.of(HostConfig(memory=7)) is first
    other = shared.of(HostConfig(memory=8))
    assert other is not first
    assert len(shared) == 2
    del first, other
    assert len(shared) == 0
