"""Capabilities of a container, from ``CapAdd``, ``CapDrop`` and ``Privileged``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from flotilla_core.errors import InvalidArgumentError

_TEXT = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
ALL = tuple(f"CAP_{name}" for name in _TEXT.split())
"""All capabilities of Linux, by number."""

_DEFAULT_TEXT = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
    "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
)
DEFAULT = tuple(f"CAP_{name}" for name in _DEFAULT_TEXT.split())
"""What dockerd gives to every container."""


@cache
def available() -> tuple[str, ...]:
    """Return what this process may hand on (its bounding set)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            mask = int(line.split()[1], 16)
            return tuple(name for number, name in enumerate(ALL) if mask >> number & 1)
    return ALL


def normalised(names: Sequence[str], field: str) -> list[str]:
    """Return the names as ``CAP_…`` in upper case, ``ALL`` kept.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    result = []
    for name in names:
        upper = name.upper()
        full = upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"
        if full in ("ALL", "CAP_ALL"):
            full = "ALL"
        elif full not in ALL:
            raise InvalidArgumentError(f'invalid {field}: unknown capability: "{full}"')
        elif full not in available():
            raise InvalidArgumentError(
                f"invalid {field}: capability not supported by your kernel or not available in "
                f'the current environment: "{full}"'
            )
        result.append(full)
    return result


def of_container(add: Sequence[str], drop: Sequence[str], *, privileged: bool) -> list[str]:
    """Return the container's capabilities, in dockerd's order."""
    if privileged:
        return list(available())
    added, dropped = normalised(add, "CapAdd"), normalised(drop, "CapDrop")
    if "ALL" in added:
        return [name for name in available() if name not in dropped]
    if "ALL" in dropped:
        return list(dict.fromkeys(added))
    kept = [name for name in DEFAULT if name not in dropped and name in available()]
    return list(dict.fromkeys([*kept, *added]))
