"""Files of a fleet on real hosts (flotilla_cli.prepare)."""

import json
import os
from pathlib import Path

import pytest

from flotilla_cli import doctor, stack
from flotilla_cli.__main__ import main


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "RUN_ROOT", tmp_path / "run")
    monkeypatch.setattr(stack, "DATA_ROOT", tmp_path / "lib")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(doctor, "findings", lambda: iter(()))


def prepared(folder: Path, *hosts: str) -> int:
    return main(["prepare", "--control", "192.0.2.1", "--dir", str(folder), *hosts])


def users(folder: Path) -> dict[str, str]:
    listed = json.loads((folder / "nats.conf").read_text())["authorization"]["users"]
    return {user["user"]: user["password"] for user in listed}


def test_everything_is_written_and_again_with_more_hosts(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    assert prepared(folder, "one", "two", "two") == 0
    before = users(folder)
    node = json.loads((folder / "hosts/one/node.json").read_text())
    identifier = (folder / "hosts/one/node-id").read_text().strip()
    assert node == {"user": f"node-{identifier}", "password": before[f"node-{identifier}"]}
    settings = (folder / "hosts/one/agent.env").read_text().splitlines()
    assert "FLOTILLA_RUNTIME_AGENT_NATS_URL=nats://192.0.2.1:4222" in settings
    assert "FLOTILLA_RUNTIME_AGENT_NODE_NAME=one" in settings
    (folder / "gateway.env").write_text("FLOTILLA_GATEWAY_LISTEN=tls://0.0.0.0:2376\n")
    assert prepared(folder, "three") == 0
    after = users(folder)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1
    assert (folder / "gateway.env").read_text() == "FLOTILLA_GATEWAY_LISTEN=tls://0.0.0.0:2376\n"
    assert json.loads((folder / "hosts/one/node.json").read_text()) == node


def test_secrets_are_for_root_alone(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    prepared(folder, "one")
    for name in ("nats.conf", "stack.json", "hosts/one/node.json", "hosts/one/image-store.token"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "command", [["up"], ["down"], ["status"], ["service", "kill", "nats"], ["host", "cut", "one"]]
)
def test_its_services_are_not_the_commands_to_run(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(tmp_path / "etc", "one")
    capsys.readouterr()
    assert main(command) == 1
    assert "is on real hosts" in capsys.readouterr().err


def test_a_stack_of_this_machine_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.new("default", tmp_path / "lib/default", (), False, []).save()
    assert prepared(tmp_path / "etc", "one") == 1
    assert "there is another fleet default" in capsys.readouterr().err
