"""Descriptions of stacks (flotilla_cli.stack)."""

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest

from flotilla_cli import stack
from flotilla_cli.failure import CommandError


@pytest.fixture(autouse=True)
def run_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "RUN_ROOT", tmp_path / "run")
    monkeypatch.setattr(stack, "DATA_ROOT", tmp_path / "lib")


def made(folder: Path, name: str = "a", *, simulated: bool = True) -> stack.Stack:
    return stack.new(name, folder / "data", (), simulated, [])


def test_stack_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = stack.with_hosts(made(tmp_path), 2, "own")
    written.save()
    assert stack.load("a", written.data_dir) == written
    assert stack.load("a") == written
    assert (written.data_dir / "stack.json").stat().st_mode & 0o777 == 0o600
    written.forget()
    assert stack.load("a") is None
    assert not written.data_dir.exists()


def test_unknown_stack_is_none(tmp_path: Path) -> None:
    assert stack.load("b", tmp_path) is None


def test_more_hosts_leave_the_first_as_they_are(tmp_path: Path) -> None:
    two = stack.with_hosts(made(tmp_path), 2, "own")
    three = stack.with_hosts(two, 3, "own")
    assert three.hosts[:2] == two.hosts
    assert [host.name for host in three.hosts] == ["host1", "host2", "host3"]
    assert len({host.address for host in three.hosts} | {three.control_address}) == 4
    assert stack.with_hosts(three, 1, "own") == three


def test_one_host_is_this_machine(tmp_path: Path) -> None:
    one = stack.with_hosts(made(tmp_path, simulated=False), 1, "own")
    assert one.hosts[0].name == "own"
    assert ipaddress.ip_address(one.control_address).is_loopback


def test_subnet_avoids_the_machines_routes(tmp_path: Path) -> None:
    first = ipaddress.IPv4Network(made(tmp_path).subnet)
    second = stack.new("a", tmp_path, (), True, [first])
    assert not ipaddress.IPv4Network(second.subnet).overlaps(first)
    with pytest.raises(CommandError, match="no free /24"):
        stack.new("a", tmp_path, (), True, [ipaddress.IPv4Network("10.0.0.0/8")])


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "../a", "a" * 32])
def test_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match="no stack name"):
        made(tmp_path, name)


def test_unknown_host_is_refused_with_those_there_are(tmp_path: Path) -> None:
    fleet = stack.with_hosts(made(tmp_path), 2, "own")
    with pytest.raises(CommandError, match=r"no such host: x \(there are: host1, host2\)"):
        fleet.host("x")


def test_link_names_are_short_enough(tmp_path: Path) -> None:
    fleet = replace(made(tmp_path), name="a" * 31)
    assert len(f"fv{fleet.mark}-100") <= 15
