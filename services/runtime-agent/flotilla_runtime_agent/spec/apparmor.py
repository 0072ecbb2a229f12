"""AppArmor: the profile of a container, and ``docker-default``, which is loaded when it is needed.

dockerd's rules and its profile: ``profiles/apparmor`` of moby 26.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flotilla_core.errors import InternalError
from flotilla_engine.host_config import HostConfig

DEFAULT = "docker-default"
UNCONFINED = "unconfined"

_LOADED = Path("/sys/kernel/security/apparmor/profiles")
_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_PARSER = Path("/sbin/apparmor_parser")
_OWN = Path("/proc/self/attr/current")
_TUNABLES = Path("/etc/apparmor.d/tunables/global")
_BASE = Path("/etc/apparmor.d/abstractions/base")
_LOAD_DEADLINE_S = 60
_TEMPLATE = """\
@tunables@

profile @name@ flags=(attach_disconnected,mediate_deleted) {
  @base@

  network,
  capability,
  file,
  umount,
  # Host (privileged) processes may send signals to container processes.
  signal (receive) peer=unconfined,
  # The runtime may (for "docker stop").
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  # The agent may (for "docker kill").
  signal (receive) peer=@agent@,
  # Container processes may send signals amongst themselves.
  signal (send,receive) peer=@name@,

  deny @{PROC}/* w,   # deny write for all files directly in /proc (not in a subdir)
  # deny write to files not in /proc/<number>/** or /proc/sys/**
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,
  deny @{PROC}/sys/[^k]** w,  # deny /proc/sys except /proc/sys/k* (effectively /proc/sys/kernel)
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,  # only shm* may be written there
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,

  deny mount,

  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,

  # suppress ptrace denials when using 'docker ps' or using 'ps' inside a container
  ptrace (trace,read,tracedby,readby) peer=@name@,
}
"""


def is_supported() -> bool:
    """Whether containers have profiles here: AppArmor is on, and profiles can be loaded."""
    if "container" in os.environ or not (_LOADED.exists() and _PARSER.exists()):
        return False
    try:
        return _ENABLED.read_text().startswith("Y")
    except OSError:
        return False


def asked(options: Sequence[str]) -> str:
    """Return the profile that security options name, or nothing."""
    chosen = ""
    for option in options:
        name, _, value = option.partition("=" if "=" in option else ":")
        if name == "apparmor":
            chosen = value
    return chosen


def profile_of(host: HostConfig) -> str:
    """Return the profile in force for a container, empty where the host has none."""
    if not is_supported():
        return ""
    return asked(host.security_opt) or (UNCONFINED if host.privileged else DEFAULT)


def ensure_loaded(profile: str) -> None:
    """Load ``docker-default`` if it is the one and not there: upgrades of others unload it.

    Raises:
        InternalError: In dockerd's words.
    """
    if profile != DEFAULT or _is_loaded(profile):
        return
    with tempfile.NamedTemporaryFile("w", prefix=profile) as file:
        file.write(_rendered())
        file.flush()
        try:
            done = subprocess.run(
                [_PARSER, "-Kr", file.name],
                capture_output=True,
                text=True,
                timeout=_LOAD_DEADLINE_S,
                check=False,
            )
            failure = done.returncode and (done.stdout + done.stderr).strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            failure = str(error)
    if failure:
        raise InternalError(
            f"AppArmor enabled on system but the {profile} profile could not be loaded: {failure}"
        )


def _is_loaded(profile: str) -> bool:
    return any(line.startswith(f"{profile} (") for line in _LOADED.read_text().splitlines())


def _rendered() -> str:
    own = _OWN.read_text().strip("\0\n").rpartition(" (")
    values = {
        "@tunables@": "#include <tunables/global>" if _TUNABLES.exists() else "@{PROC}=/proc/",
        "@base@": "#include <abstractions/base>" if _BASE.exists() else "",
        "@agent@": own[0] or own[2] or UNCONFINED,
        "@name@": DEFAULT,
    }
    text = _TEMPLATE
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text
