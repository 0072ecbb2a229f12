"""Mounts of a container as the runtime specification wants them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from flotilla_core.errors import InternalError
from flotilla_engine.host_config import HostConfig

MASKED_PATHS = [
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi"),
    *("/sys/firmware", "/sys/devices/virtual/powercap"),
]
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
DEFAULT_SHM_BYTES = 64 << 20
INIT_TARGET = "/sbin/docker-init"
_FLAGS = {  # by the bit of mount(2) that they are about
    **dict.fromkeys(("ro", "rw"), "ro"),
    **dict.fromkeys(("suid", "nosuid"), "nosuid"),
    **dict.fromkeys(("dev", "nodev"), "nodev"),
    **dict.fromkeys(("exec", "noexec"), "noexec"),
    **dict.fromkeys(("sync", "async"), "sync"),
    **dict.fromkeys(("mand", "nomand"), "mand"),
    **dict.fromkeys(("atime", "noatime"), "noatime"),
    **dict.fromkeys(("diratime", "nodiratime"), "nodiratime"),
    **dict.fromkeys(("relatime", "norelatime"), "relatime"),
    **dict.fromkeys(("strictatime", "nostrictatime"), "strictatime"),
    **{
        f"{prefix}{word}": "propagation"
        for prefix in ("", "r")
        for word in ("unbindable", "private", "shared", "slave")
    },
    **{flag: flag for flag in ("dirsync", "remount", "bind", "rbind")},
}
_TMPFS_KEYS = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_WRITABLE_WITH_READONLY_ROOT = {"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"}


class PlannedMount(BaseModel):
    """A mount that the user asked for, decided at create and made ready at each start."""

    type: str  # bind, volume, tmpfs or image
    source: str = ""  # host path, or the image's reference
    destination: str
    name: str = ""  # of the volume
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    subpath: str = ""
    no_copy: bool = False
    is_recursive: bool = True
    is_read_only_recursive: bool = True
    options: list[str] = Field(default_factory=list)  # of tmpfs
    is_anonymous: bool = False  # goes with the last of its containers that is removed with volumes
    is_new: bool = False  # an anonymous volume that is this container's own
    is_near_root: bool = False  # a bind that shows the agent's own folder, or is in it
    conflict: str = ""  # between its options; dockerd tells at start
    skip_create: bool = False  # a bind whose source must exist already


def _mount(kind: str, source: str, destination: str, options: Sequence[str]) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": kind,
        "source": source,
        "options": list(options),
    }


def _system_mounts(host: HostConfig) -> list[dict[str, Any]]:
    guarded = ["nosuid", "noexec", "nodev"]
    read_only = [] if host.privileged else ["ro"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    return [
        _mount("proc", "proc", "/proc", guarded),
        _mount("tmpfs", "tmpfs", "/dev", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("devpts", "devpts", "/dev/pts", pts),
        _mount("sysfs", "sysfs", "/sys", [*guarded, *read_only]),
        _mount("cgroup", "cgroup", "/sys/fs/cgroup", [*read_only, *guarded]),
        _mount("mqueue", "mqueue", "/dev/mqueue", guarded),
    ]


def shm_mount(host: HostConfig, shared: Path | None) -> dict[str, Any] | None:
    """Return the mount of ``/dev/shm``; ``shared`` is a folder of the host to bind instead."""
    if host.ipc_mode == "none":
        return None
    if shared is not None:
        return _mount("bind", str(shared), "/dev/shm", ["rbind", "rprivate"])
    size = host.shm_size or DEFAULT_SHM_BYTES
    options = ["nosuid", "noexec", "nodev", "mode=1777", f"size={size}"]
    return _mount("tmpfs", "shm", "/dev/shm", options)


def planned(mount: PlannedMount, source: str) -> dict[str, Any]:
    """Return a user's mount; the source is what was made ready."""
    if mount.type == "tmpfs":
        options = ["noexec", "nosuid", "nodev", "rprivate"]
        if not mount.rw:
            options.append("ro")
        return _mount("tmpfs", "tmpfs", mount.destination, merged_options(options + mount.options))
    options = ["rbind" if mount.is_recursive else "bind"]
    if not mount.rw:
        options.append("rro" if mount.is_recursive and mount.is_read_only_recursive else "ro")
    if mount.type == "bind":
        options.append(mount.propagation or "rprivate")
    return _mount("bind", source, mount.destination, options)


def merged_options(options: Sequence[str]) -> list[str]:
    """Let later options of a tmpfs replace the earlier ones of the same kind.

    As ``mount.MergeTmpfsOptions`` of moby.

    Raises:
        InternalError: With dockerd's text.
    """
    kept: dict[str, str] = {}
    for option in reversed(options):
        key, equals, _ = option.partition("=")
        if option in _FLAGS:
            kept.setdefault(_FLAGS[option], option)
        elif equals and key in _TMPFS_KEYS:
            kept.setdefault(key, option)
        elif option != "defaults":
            raise InternalError(f'invalid tmpfs option "{key}"')
    return list(reversed(kept.values()))


def all_mounts(
    host: HostConfig,
    user: Sequence[dict[str, Any]],
    *,
    shared_shm: Path | None,
    files: dict[str, Path],
    init: Path | None,
) -> list[dict[str, Any]]:
    """Return all mounts in the order in which they are made, shallow ones first.

    Args:
        host: The container's host configuration.
        user: Mounts that the user asked for; they replace ours at the same place.
        shared_shm: Folder of the host to use as ``/dev/shm``.
        files: Files of ours by their place in the container.
        init: The program to show as ``/sbin/docker-init``.
    """
    taken = {mount["destination"].rstrip("/") or "/" for mount in user}
    ours = _system_mounts(host)
    if init is not None:
        ours.append(_mount("bind", str(init), INIT_TARGET, ["bind", "ro"]))
    shm = shm_mount(host, shared_shm)
    if shm is not None:
        ours.append(shm)
    ours = [m for m in ours if m["destination"] not in taken and not _hidden(m, taken)]
    if host.readonly_rootfs:
        for mount in ours:
            if mount["destination"] not in _WRITABLE_WITH_READONLY_ROOT:
                mount["options"] = list(dict.fromkeys([*mount["options"], "ro"]))
    ordered = sorted(user, key=lambda mount: mount["destination"].rstrip("/").count("/"))
    read_only = ["rro"] if host.readonly_rootfs else []
    bound = [
        _mount("bind", str(path), place, ["rbind", *read_only, "rprivate"])
        for place, path in files.items()
        if place not in taken
    ]
    return [*ours, *ordered, *bound]


def _hidden(mount: dict[str, Any], taken: set[str]) -> bool:
    """Whether the user has put something of their own at ``/dev``, over a mount below it."""
    return "/dev" in taken and mount["destination"].startswith("/dev/")
