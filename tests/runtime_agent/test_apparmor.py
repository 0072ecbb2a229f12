"""Profiles of containers (``spec/apparmor.py``), with or without AppArmor on the host."""

from __future__ import annotations

import pytest

from flotilla_engine.host_config import HostConfig
from flotilla_runtime_agent.spec import apparmor


def test_the_last_profile_that_is_named_counts() -> None:
    assert apparmor.asked(["apparmor=one", "no-new-privileges", "apparmor:two"]) == "two"
    assert apparmor.asked(["seccomp=unconfined"]) == ""


def test_profile_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apparmor, "is_supported", lambda: True)
    assert apparmor.profile_of(HostConfig()) == "docker-default"
    assert apparmor.profile_of(HostConfig(privileged=True)) == "unconfined"
    assert apparmor.profile_of(HostConfig(security_opt=["apparmor=mine"])) == "mine"
    monkeypatch.setattr(apparmor, "is_supported", lambda: False)
    assert apparmor.profile_of(HostConfig(security_opt=["apparmor=mine"])) == ""


@pytest.mark.skipif(not apparmor.is_supported(), reason="this host has no AppArmor")
def test_default_profile_is_loaded() -> None:
    apparmor.ensure_loaded(apparmor.DEFAULT)
    apparmor.ensure_loaded(apparmor.DEFAULT)
