"""Network namespaces of containers: made in a thread, kept alive by a bind mount."""

import ctypes
import os
import threading
from pathlib import Path

from flotilla_runtime_agent.network.netlink.route import RouteSocket
from flotilla_runtime_agent.network.netlink.sockets import set_namespace, unshare_network

_MS_BIND = 4096
_MNT_DETACH = 2
_LOOPBACK = 1

_libc = ctypes.CDLL(None, use_errno=True)


def create(path: Path) -> None:
    """Make a namespace with its loopback up, and bind it to path; safe to repeat."""
    if is_namespace(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o444)
    own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
    home = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare_network()
        try:
            _mount_bind(own, path)
            with RouteSocket() as route:
                route.change_link(_LOOPBACK, up=True)
            # Interfaces that come later have IPv6 only where their network has it.
            write_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
        finally:
            set_namespace(home)
    finally:
        os.close(home)


def remove(path: Path) -> None:
    """Let go of a namespace; the kernel destroys it with all its links once nothing uses it."""
    while _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        pass
    path.unlink(missing_ok=True)


def is_namespace(path: Path) -> bool:
    """Say whether a namespace is bound to path."""
    try:
        return path.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except FileNotFoundError:
        return False


def opened(path: Path) -> int:
    """Return a descriptor of the namespace, which the caller closes."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def write_sysctl(name: str, value: str) -> bool:
    """Set a network sysctl of this thread's namespace; answers whether the kernel has it."""
    try:
        Path("/proc/sys", *name.split("/")).write_text(value)
    except (FileNotFoundError, PermissionError):
        return False
    return True


def _mount_bind(source: str, target: Path) -> None:
    if _libc.mount(source.encode(), os.fsencode(target), None, _MS_BIND, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bind {source} to {target}: {os.strerror(number)}")
