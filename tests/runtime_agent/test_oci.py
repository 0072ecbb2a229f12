"""Commands of OCI runtimes other than runc (``runtime/oci.py``)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flotilla_runtime_agent.runtime import oci
from flotilla_runtime_agent.runtime.conmon import OciRuntime
from flotilla_runtime_agent.runtime.processes import ProcessRef


async def test_a_runtime_is_not_told_of_the_agents_own_notify_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "other"
    program.write_text(f'#!/bin/sh\necho "$3 ${{NOTIFY_SOCKET:-none}}" >{tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    await oci.start(OciRuntime("other", program, tmp_path), "c1", ProcessRef(os.getpid(), 0))
    assert (tmp_path / "told").read_text() == "start none\n"
