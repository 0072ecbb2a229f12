"""Twin of ``archive/changes.py``."""

import os
from pathlib import Path

import pytest

from flotilla_runtime_agent.archive.changes import changes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_kinds_and_parents_as_dockerd_has_them(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for folder in ("etc", "etc/deep", "var"):
        (lower / folder).mkdir(parents=True)
    for file in ("etc/changed", "etc/deleted", "etc/deep/kept"):
        (lower / file).touch()
    for folder in ("etc/deep", "new"):
        (upper / folder).mkdir(parents=True)
    for file in ("etc/changed", "new/file", "etc/deep/added"):
        (upper / file).touch()
    os.mknod(upper / "etc" / "deleted", 0o20000, os.makedev(0, 0))
    assert [(change.kind, change.path) for change in changes(upper, [lower])] == [
        (0, "/etc"),
        (0, "/etc/changed"),
        (0, "/etc/deep"),
        (1, "/etc/deep/added"),
        (2, "/etc/deleted"),
        (1, "/new"),
        (1, "/new/file"),
    ]
