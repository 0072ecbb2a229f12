"""Twin of flotilla_server/settings.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from flotilla_server.settings import Settings, SettingsError, load


class _Settings(Settings):
    port: int = Field(2375, description="Port to listen on.")
    listen: list[str] = Field(default_factory=list, description="Addresses.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels.")
    data_dir: Path = Field(description="Folder.")


def _load(*argv: str, **environ: str) -> _Settings:
    return load(_Settings, "my-service", argv, {"FLOTILLA_MY_SERVICE_DATA_DIR": "/d", **environ})


def test_flags_go_before_the_environment_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('port = 1\nlisten = ["a"]\nlabels = {x = "y"}\n')
    assert _load("--config", str(file)).port == 1
    assert _load("--config", str(file), FLOTILLA_MY_SERVICE_PORT="2").port == 2
    assert _load("--port", "3", FLOTILLA_MY_SERVICE_PORT="2").port == 3
    assert _load("--config", str(file)).labels == {"x": "y"}


def test_lists_and_tables_come_as_text_too() -> None:
    read = _load("--listen", "tcp://a:1, unix:///b", "--labels", "disk=ssd,zone=1")
    assert read.listen == ["tcp://a:1", "unix:///b"]
    assert read.labels == {"disk": "ssd", "zone": "1"}


@pytest.mark.parametrize(
    ("argv", "environ", "says"),
    [
        ([], {"FLOTILLA_MY_SERVICE_PORT": "x"}, "FLOTILLA_MY_SERVICE_PORT: Input should be"),
        (["--port", "x"], {}, "--port: Input should be"),
        (["--config", "/no/such.toml"], {}, "/no/such.toml: No such file or directory"),
    ],
)
def test_a_wrong_setting_is_one_line_naming_its_origin(
    argv: list[str], environ: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        _load(*argv, **environ)
    assert str(raised.value).startswith(says)
    assert "\n" not in str(raised.value)


def test_a_missing_and_an_unknown_setting_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^FLOTILLA_MY_SERVICE_DATA_DIR is not set$"):
        load(_Settings, "my-service", [], {})
    file = tmp_path / "settings.json"
    file.write_text('{"prot": 1}')
    with pytest.raises(SettingsError, match=r"settings\.json: prot: no such setting$"):
        _load("--config", str(file))
