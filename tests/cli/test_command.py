"""The command's own answers (flotilla_cli.__main__)."""

import json
import os
import ssl
from pathlib import Path

import pytest

from flotilla_cli import certificates, doctor, nats_server, services, stack
from flotilla_cli.__main__ import main


@pytest.fixture(autouse=True)
def no_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "RUN_ROOT", tmp_path / "run")
    monkeypatch.setattr(stack, "DATA_ROOT", tmp_path / "lib")


def test_up_without_root_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["up"]) == 1
    said = capsys.readouterr().err
    assert "root (network namespaces, mounts, cgroups)" in said
    assert said.count("\n") == 1


def test_up_without_a_program_names_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = doctor.Finding("conmon", False, True, "apt-get install conmon")
    monkeypatch.setattr(doctor, "findings", lambda: iter([finding]))
    assert main(["up"]) == 1
    said = capsys.readouterr().err
    assert said == "flotilla: this machine lacks: conmon (apt-get install conmon)\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["up", "--listen", "0.0.0.0:2375"], "0.0.0.0:2375: tcp://HOST:PORT"),
        (["node", "label", "host1", "disk"], "disk: KEY=VALUE is expected"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(
    wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_folder_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "findings", lambda: iter(()))
    assert main(["up", "--data-dir", "/proc/none"]) == 1
    assert capsys.readouterr().err == "flotilla: /proc/none: No such file or directory\n"


def test_status_of_no_stack_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--name", "none"]) == 1
    assert "there is no stack none" in capsys.readouterr().err


def test_down_of_no_stack_is_fine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main(["down", "--name", "none"]) == 0
    assert "there is no stack none" in capsys.readouterr().out


def test_bus_has_a_user_for_each_service_and_node(tmp_path: Path) -> None:
    fleet = stack.new("a", tmp_path / "data", (), True, [])
    fleet = stack.with_hosts(fleet, 2, "own")
    nats_server.write_config(fleet)
    users = json.loads(nats_server.config_path(fleet).read_text())["authorization"]["users"]
    named = {user["user"]: user for user in users}
    nodes = [f"node-{host.node_id}" for host in fleet.hosts]
    assert set(named) == {"image-store", "registry-proxy", "gateway", "cli", *nodes}
    other = fleet.hosts[1].node_id
    allowed = named[nodes[0]]["permissions"]
    assert not any(other in subject for subject in allowed["publish"] + allowed["subscribe"])
    assert "flotilla.>" not in allowed["publish"] + allowed["subscribe"]


def test_credentials_are_for_root_alone(tmp_path: Path) -> None:
    fleet = stack.with_hosts(stack.new("a", tmp_path / "data", (), True, []), 1, "own")
    services.write_credentials(fleet)
    path = services.credentials_path(fleet, "gateway")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    node_id = (fleet.host_data_dir(fleet.hosts[0]) / "node-id").read_text().strip()
    assert node_id == fleet.hosts[0].node_id


def test_agent_enters_its_hosts_network_only(tmp_path: Path) -> None:
    fleet = stack.with_hosts(stack.new("a", tmp_path / "data", (), True, []), 1, "own")
    agent = services.service(fleet, "agent-host1")
    assert agent.argv[:3] == ("nsenter", "--net=/run/netns/flt-a-host1", "--")
    assert agent.argv[-2:] == ("-m", "flotilla_runtime_agent")
    assert agent.settings["FLOTILLA_RUNTIME_AGENT_CGROUP_PARENT"] == "/flotilla/a/host1"


def test_certificates_are_made_once_and_keys_are_for_root_alone(tmp_path: Path) -> None:
    certificates.ensure(tmp_path / "tls")
    made = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    certificates.ensure(tmp_path / "tls")
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    assert set(made) == {"ca.pem", "cert.pem", "key.pem", "server-cert.pem", "server-key.pem"}
    assert (tmp_path / "tls/key.pem").stat().st_mode & 0o777 == 0o600
    context = ssl.create_default_context(cafile=str(tmp_path / "tls/ca.pem"))
    context.load_cert_chain(tmp_path / "tls/server-cert.pem", tmp_path / "tls/server-key.pem")
