"""Linux capabilities by name, as Docker reads them (moby ``oci/caps``)."""

from collections.abc import Iterable

from flotilla_core.errors import InvalidArgumentError

ALL = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
    "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
    "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip

DEFAULT = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip


def normalised(names: Iterable[str]) -> list[str]:
    """Return names as ``CAP_NET_ADMIN``; ``ALL`` stays.

    Raises:
        InvalidArgumentError: ``unknown capability: "…"``, as dockerd says.
    """
    result = []
    for name in names:
        upper = name.upper()
        if upper != "ALL":
            if not upper.startswith("CAP_"):
                upper = f"CAP_{upper}"
            if upper not in ALL:
                raise InvalidArgumentError(f'unknown capability: "{upper}"')
        result.append(upper)
    return result


def effective(add: Iterable[str], drop: Iterable[str], *, privileged: bool) -> list[str]:
    """Return what a container may do (moby ``caps.TweakCapabilities``)."""
    if privileged:
        return list(ALL)
    added, dropped = normalised(add), normalised(drop)
    if "ALL" in added:
        kept = [name for name in ALL if name not in dropped]
    elif "ALL" in dropped:
        kept = []
    else:
        kept = [name for name in DEFAULT if name not in dropped]
    return kept + [name for name in added if name != "ALL" and name not in kept]
