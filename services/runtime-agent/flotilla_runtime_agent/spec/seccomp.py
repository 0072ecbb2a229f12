"""The seccomp filter: Docker's default profile, a profile of the user's, or none."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from flotilla_core.errors import InternalError

_ARCHITECTURES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
}
_KEPT = ("names", "action", "errnoRet", "args")


@cache
def _default_profile() -> dict[str, Any]:
    text = Path(__file__).with_name("seccomp.json").read_text()
    profile: dict[str, Any] = json.loads(text)
    return profile


def from_security_options(
    options: Sequence[str], capabilities: Sequence[str], *, privileged: bool
) -> dict[str, Any] | None:
    """Return ``linux.seccomp``, None where there is no filter.

    Raises:
        InternalError: If a given profile cannot be read.
    """
    chosen = ""
    for option in options:
        name, _, value = option.partition("=" if "=" in option else ":")
        if name == "seccomp":
            chosen = value
    if chosen == "unconfined" or (privileged and not chosen):
        return None
    if chosen in ("", "builtin"):
        return resolve(_default_profile(), capabilities)
    profile = _decoded(chosen)
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return None
    return resolve(profile, capabilities)


def _decoded(text: str) -> dict[str, Any]:
    wrong = ""
    try:
        profile = json.loads(text)
    except ValueError:
        wrong = f"invalid character '{text.lstrip()[:1]}' looking for beginning of value"
    else:
        if isinstance(profile, dict):
            return profile
        wrong = "json: cannot unmarshal into Go value of type seccomp.Seccomp"
    raise InternalError(f"Decoding seccomp profile failed: {wrong}")


def resolve(profile: dict[str, Any], capabilities: Sequence[str]) -> dict[str, Any]:
    """Turn a profile in Docker's format into the runtime specification's."""
    go_name, scmp_name = _ARCHITECTURES.get(platform.machine(), ("", ""))
    rules = [
        _rule(rule)
        for rule in profile.get("syscalls") or ()
        if _applies(rule, go_name, frozenset(capabilities))
    ]
    resolved: dict[str, Any] = {
        "defaultAction": profile.get("defaultAction", ""),
        "architectures": _architectures(profile, scmp_name),
        "syscalls": rules,
    }
    for key in ("defaultErrnoRet", "flags", "listenerPath", "listenerMetadata"):
        if key in profile:
            resolved[key] = profile[key]
    return resolved


def _architectures(profile: dict[str, Any], scmp_name: str) -> list[str]:
    for entry in profile.get("archMap") or ():
        if entry["architecture"] == scmp_name:
            return [scmp_name, *(entry.get("subArchitectures") or ())]
    return list(profile.get("architectures") or ())


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    kept = {key: rule[key] for key in _KEPT if rule.get(key) is not None}
    if "names" not in kept and "name" in rule:
        kept["names"] = [rule["name"]]
    return kept


def _applies(rule: dict[str, Any], arch: str, capabilities: frozenset[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if arch in (excludes.get("arches") or ()):
        return False
    if capabilities & set(excludes.get("caps") or ()):
        return False
    if "minKernel" in excludes and _kernel() >= _version(excludes["minKernel"]):
        return False
    if includes.get("arches") and arch not in includes["arches"]:
        return False
    if not set(includes.get("caps") or ()) <= capabilities:
        return False
    return not ("minKernel" in includes and _kernel() < _version(includes["minKernel"]))


def _version(text: str) -> tuple[int, int]:
    numbers = [int(part) for part in text.split(".")[:2]]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


@cache
def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(char for char in minor if char.isdigit()) or 0)
