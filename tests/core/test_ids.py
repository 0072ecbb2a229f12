"""Tests of flotilla_core.ids."""

import re

from flotilla_core.ids import exec_owner, new_exec_id, new_id, new_node_id, short_id


def test_id_is_64_hex_digits_and_not_a_number() -> None:
    identifier = new_id()
    assert re.fullmatch(r"[0-9a-f]{64}", identifier)
    assert not identifier[:12].isdecimal()
    assert new_id() != identifier


def test_short_id_drops_the_algorithm() -> None:
    assert short_id("sha256:" + "ab" * 32) == "ab" * 6
    assert short_id("cd" * 32) == "cd" * 6


def test_node_id_looks_like_swarms() -> None:
    assert re.fullmatch(r"[0-9a-z]{25}", new_node_id())


def test_the_id_of_an_exec_tells_its_container() -> None:
    container = new_id()
    identifier = new_exec_id(container)
    assert re.fullmatch(r"[0-9a-f]{64}", identifier)
    assert new_exec_id(container) != identifier
    assert container.startswith(exec_owner(identifier))
    assert exec_owner("none") == ""
