"""Devices of a container, and the rules of its device cgroup."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flotilla_core.errors import InternalError, InvalidArgumentError
from flotilla_engine.host_config import DeviceMapping, HostConfig

_RULE = re.compile(r"^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$")
_NOT_DEVICES = {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"}
_ALLOWED = ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))  # zero null urandom random tty console


def of_container(host: HostConfig) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return ``linux.devices`` and ``linux.resources.devices``.

    Raises:
        FlotillaError: With dockerd's text, if a device is not there or a rule is malformed.
    """
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [_rule("c", major, minor, "rwm") for major, minor in _ALLOWED]
    if host.privileged:
        return _host_devices(), [{"allow": True, "access": "rwm"}]
    devices = []
    for mapping in host.devices:
        for device in _mapped(mapping):
            devices.append(device)
            access = mapping.cgroup_permissions or "rwm"
            rules.append(_rule(device["type"], device["major"], device["minor"], access))
    rules += [parse_rule(text) for text in host.device_cgroup_rules]
    return devices, rules


def _rule(kind: str, major: int, minor: int, access: str) -> dict[str, Any]:
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}


def parse_rule(text: str) -> dict[str, Any]:
    """Parse a rule such as ``c 42:* rmw``.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    match = _RULE.match(text)
    if match is None:
        raise InvalidArgumentError(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = match.groups()
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major != "*":
        rule["major"] = int(major)
    if minor != "*":
        rule["minor"] = int(minor)
    return rule


def _mapped(mapping: DeviceMapping) -> Iterator[dict[str, Any]]:
    source = Path(mapping.path_on_host)
    target = mapping.path_in_container or mapping.path_on_host
    text = f'error gathering device information while adding custom device "{source}"'
    if not source.exists():
        raise InternalError(f"{text}: no such file or directory")
    resolved = source.resolve()
    if resolved.is_dir():
        found = [path for path in sorted(resolved.rglob("*")) if _kind(path) is not None]
        if not found:
            raise InternalError(f"{text}: no devices found")
        for path in found:
            yield _device(path, f"{target}/{path.relative_to(resolved)}")
        return
    if _kind(resolved) is None:
        raise InternalError(f"{text}: not a device node")
    yield _device(resolved, target)


def _kind(path: Path) -> str | None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    if stat.S_ISCHR(mode):
        return "c"
    return "b" if stat.S_ISBLK(mode) else None


def _device(path: Path, target: str) -> dict[str, Any]:
    found = path.lstat()
    return {
        "path": target,
        "type": _kind(path),
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }


def _host_devices() -> list[dict[str, Any]]:
    return list(_walk(Path("/dev")))


def _walk(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.iterdir()):
        if path.name in _NOT_DEVICES or path == Path("/dev/console"):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif _kind(path) is not None:
            yield _device(path, str(path))


def block_device(path: str) -> tuple[int, int]:
    """Return a block device's numbers.

    Raises:
        InvalidArgumentError: If there is none.
    """
    try:
        found = Path(path).stat()
    except OSError as error:
        raise InvalidArgumentError(f"stat {path}: {(error.strerror or '').lower()}") from error
    return os.major(found.st_rdev), os.minor(found.st_rdev)


def refuse_requests(requests: Sequence[Any]) -> None:
    """Refuse device requests: no driver for any is known here.

    Raises:
        InternalError: With dockerd's text.
    """
    for request in requests:
        wanted = "[" + " ".join(f"[{' '.join(all_of)}]" for all_of in request.capabilities) + "]"
        raise InternalError(
            f'could not select device driver "{request.driver}" with capabilities: {wanted}'
        )
