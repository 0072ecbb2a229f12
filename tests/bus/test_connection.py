"""Tests of flotilla_bus.connection."""

from pathlib import Path

import pytest

from flotilla_bus import Credentials, connected
from flotilla_core.errors import InvalidArgumentError
from flotilla_testing.nats import NatsServer


def test_credentials_come_from_a_file_and_are_not_shown(tmp_path: Path) -> None:
    assert Credentials.read(None) is None
    (tmp_path / "good").write_text('{"user": "me", "password": "sesame"}')
    read = Credentials.read(tmp_path / "good")
    assert read == Credentials("me", "sesame")
    assert "sesame" not in repr(read)


@pytest.mark.parametrize("content", [None, "sesame", '["sesame"]', '{"user": "sesame"}'])
def test_a_wrong_file_of_credentials_is_named_and_not_shown(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "wrong").write_text(content)
    with pytest.raises(InvalidArgumentError, match=f"{tmp_path}/wrong") as raised:
        Credentials.read(tmp_path / "wrong")
    assert "sesame" not in raised.value.message


async def test_any_server_of_several_will_do(nats: NatsServer) -> None:
    async with connected(f"nats://127.0.0.1:1,{nats.url}", name="one", patience_s=30) as bus:
        assert bus.is_connected
