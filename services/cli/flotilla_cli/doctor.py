"""Says what this machine lacks for Flotilla, and how to get it."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flotilla_cli.commands import succeeds

_VETH = "ip link add flt0 type veth peer name flt1"
_LINK_KINDS = {
    "bridge": "ip link add flt0 type bridge",
    "veth": _VETH,
    "vxlan": "ip link add flt0 type vxlan id 1 dstport 4789",
    "macvlan": f"{_VETH} && ip link add link flt0 flt2 type macvlan",
}
_PROGRAM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` says how to get it."""

    what: str
    is_fine: bool
    is_needed: bool
    remedy: str


def findings() -> Iterator[Finding]:
    """Look at everything that Flotilla needs, or can use, on this machine."""
    root = os.geteuid() == 0
    yield Finding("root (network namespaces, mounts, cgroups)", root, True, "run it with sudo")
    version = ".".join(map(str, sys.version_info[:3]))
    newer = sys.version_info >= (3, 11)
    yield Finding(f"Python 3.11 or newer ({version})", newer, True, "apt-get install python3")
    yield from _programs()
    yield from _kernel()
    seccomp = Path("/usr/share/containers/seccomp.json")
    yield Finding(
        "the default seccomp profile",
        seccomp.exists(),
        False,
        "apt-get install golang-github-containers-common",
    )


def missing() -> list[Finding]:
    """Return what is needed and not there."""
    return [finding for finding in findings() if finding.is_needed and not finding.is_fine]


def _programs() -> Iterator[Finding]:
    needed = {
        "nats-server": "nats-server",
        "runc": "runc",
        "conmon": "conmon",
        "nft": "nftables",
        "ip": "iproute2",
        "nsenter": "util-linux",
    }
    useful = {
        "docker": "docker.io (only its command is needed)",
        "tini-static": "tini",
        "wg": "wireguard-tools (for encrypted networks)",
    }
    for table, is_needed in ((needed, True), (useful, False)):
        for program, package in table.items():
            found = shutil.which(program, path=_PROGRAM_PATH) is not None
            yield Finding(program, found, is_needed, f"apt-get install {package}")


def _kernel() -> Iterator[Finding]:
    overlay = "\toverlay\n" in Path("/proc/filesystems").read_text() or succeeds(
        "modprobe", "overlay"
    )
    yield Finding("overlayfs", overlay, False, "modprobe overlay; without it layers are copied")
    for kind, trial in _LINK_KINDS.items():
        made = succeeds("unshare", "--net", "sh", "-c", trial)
        yield Finding(f"{kind} links", made, kind in ("bridge", "veth"), f"modprobe {kind}")
    yield _encryption()
    cgroups = Path("/sys/fs/cgroup")
    mounted = (cgroups / "cgroup.controllers").exists() or (cgroups / "memory").is_dir()
    yield Finding("cgroups at /sys/fs/cgroup", mounted, True, "mount them, v1 or v2")


def _encryption() -> Finding:
    kernel = succeeds("unshare", "--net", "ip", "link", "add", "flt0", "type", "wireguard")
    program = shutil.which("wireguard-go", path=_PROGRAM_PATH) is not None
    fine = kernel or (program and Path("/dev/net/tun").exists())
    remedy = "modprobe wireguard, or apt-get install wireguard-go and have /dev/net/tun"
    return Finding("WireGuard (for encrypted networks)", fine, False, remedy)
