"""Assembles ``config.json`` of the OCI runtime specification 1.0.2 for a container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.exec import ExecConfig
from flotilla_engine.host_config import HostConfig
from flotilla_runtime_agent.spec import capabilities, cgroups, devices, mounts, seccomp, users

_NO_LIMIT = 2**64 - 1  # which is -1 without a sign
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class SpecInput:
    """Everything that decides a container's specification."""

    container_id: str
    config: ContainerConfig
    host: HostConfig
    command: Sequence[str]
    root: Path
    cgroup: str
    netns: Path | None  # None: the host's
    joined: Mapping[str, Path] = field(default_factory=dict)  # namespace type → path
    mounts: Sequence[dict[str, Any]] = ()
    rootfs_propagation: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    shared_shm: Path | None = None
    init: Path | None = None
    linked_env: Sequence[str] = ()
    apparmor_profile: str = ""


def build(given: SpecInput) -> dict[str, Any]:
    """Return the specification.

    Raises:
        FlotillaError: With dockerd's text, where something cannot be had.
    """
    host = given.host
    devices.refuse_requests(host.device_requests)
    granted = capabilities.of_container(host.cap_add, host.cap_drop, privileged=host.privileged)
    spec: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(given, granted),
        "root": {"path": str(given.root), "readonly": host.readonly_rootfs},
        "mounts": mounts.all_mounts(
            host,
            given.mounts,
            shared_shm=given.shared_shm,
            files=dict(given.files),
            init=given.init,
        ),
        "linux": _linux(given, granted),
    }
    if not (host.uts_mode == "host" or "uts" in given.joined):
        spec["hostname"] = given.config.hostname
    if host.annotations:
        spec["annotations"] = dict(host.annotations)
    return spec


def _process(given: SpecInput, granted: list[str]) -> dict[str, Any]:
    config, host = given.config, given.host
    command = list(given.command)
    if given.init is not None:
        command = [mounts.INIT_TARGET, "--", *command]
    process: dict[str, Any] = {
        "user": users.look_up(given.root, config.user, host.group_add).as_oci(),
        "args": command,
        "env": environment(config, given.linked_env),
        "cwd": config.working_dir or "/",
        "capabilities": _capability_sets(granted),
        "oomScoreAdj": host.oom_score_adj,
    }
    if config.tty:
        process["terminal"] = True
        if host.console_size and all(host.console_size):
            height, width = host.console_size
            process["consoleSize"] = {"height": height, "width": width}
    if has_no_new_privileges(host.security_opt):
        process["noNewPrivileges"] = True
    if given.apparmor_profile:
        process["apparmorProfile"] = given.apparmor_profile
    if host.ulimits:
        process["rlimits"] = [
            {
                "type": f"RLIMIT_{limit.name.upper()}",
                "hard": limit.hard & _NO_LIMIT,
                "soft": limit.soft & _NO_LIMIT,
            }
            for limit in host.ulimits
        ]
    return process


def _capability_sets(granted: list[str]) -> dict[str, list[str]]:
    return dict.fromkeys(("bounding", "effective", "permitted"), granted)


def environment(config: ContainerConfig, linked: Sequence[str] = ()) -> list[str]:
    """Return the environment, dockerd's defaults first; ``NAME`` alone removes a default."""
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": config.hostname}
    if config.tty:
        env["TERM"] = "xterm"
    for entry in (*linked, *config.env):
        name, equals, value = entry.partition("=")
        if equals:
            env[name] = value
        else:
            env.pop(name, None)
    return [f"{name}={value}" for name, value in env.items()]


def has_no_new_privileges(options: Sequence[str]) -> bool:
    """Read ``no-new-privileges`` among the security options."""
    result = False
    for option in options:
        name, _, value = option.replace("=", ":", 1).partition(":")
        if name == "no-new-privileges":
            result = value in ("", "true", "1", "True")
    return result


def check_security_options(options: Sequence[str]) -> None:
    """Refuse options that dockerd would refuse.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    for option in options:
        if option in ("no-new-privileges", "disable"):
            continue
        name, separator, value = option.partition("=" if "=" in option else ":")
        if not separator:
            raise InvalidArgumentError(f'invalid --security-opt 1: "{option}"')
        if name == "no-new-privileges":
            if value not in ("true", "false", "1", "0"):
                raise InvalidArgumentError(f'invalid --security-opt 2: "{option}"')
        elif name not in ("label", "apparmor", "seccomp", "writable-cgroups"):
            raise InvalidArgumentError(f'invalid --security-opt 2: "{option}"')


def _linux(given: SpecInput, granted: list[str]) -> dict[str, Any]:
    host = given.host
    nodes, rules = devices.of_container(host)
    linux: dict[str, Any] = {
        "namespaces": _namespaces(given),
        "cgroupsPath": given.cgroup,
        "resources": {"devices": rules, **cgroups.resources(host)},
        "sysctl": _sysctls(given),
    }
    if nodes:
        linux["devices"] = nodes
    filtered = seccomp.from_security_options(host.security_opt, granted, privileged=host.privileged)
    if filtered is not None:
        linux["seccomp"] = filtered
    if not host.privileged:
        masked, read_only = host.masked_paths, host.readonly_paths
        linux["maskedPaths"] = mounts.MASKED_PATHS if masked is None else masked
        linux["readonlyPaths"] = mounts.READONLY_PATHS if read_only is None else read_only
    if given.rootfs_propagation:
        linux["rootfsPropagation"] = given.rootfs_propagation
    return linux


def _namespaces(given: SpecInput) -> list[dict[str, str]]:
    host = given.host
    spaces: list[dict[str, str]] = [{"type": "mount"}]
    if given.netns is not None:
        spaces.append({"type": "network", "path": str(given.netns)})
    modes = {"uts": host.uts_mode, "pid": host.pid_mode, "ipc": host.ipc_mode}
    for kind, mode in modes.items():
        if kind in given.joined:
            spaces.append({"type": kind, "path": str(given.joined[kind])})
        elif mode != "host":
            spaces.append({"type": kind})
    if cgroup_namespace_is_private(host):
        spaces.append({"type": "cgroup"})
    return spaces


def cgroup_namespace_is_private(host: HostConfig) -> bool:
    """Whether the container sees a cgroup tree of its own; the default depends on the host."""
    if host.cgroupns_mode:
        return host.cgroupns_mode == "private"
    return cgroups.is_unified()


def _sysctls(given: SpecInput) -> dict[str, str]:
    sysctls: dict[str, str] = {}
    if given.config.domainname and given.host.uts_mode != "host":
        sysctls["kernel.domainname"] = given.config.domainname
    if given.netns is not None and not given.host.network_mode.startswith("container:"):
        sysctls["net.ipv4.ip_unprivileged_port_start"] = "0"
        sysctls["net.ipv4.ping_group_range"] = "0 2147483647"
    sysctls.update(given.host.sysctls)
    return sysctls


def exec_process(
    base: dict[str, Any], asked: ExecConfig, *, tty: bool, root: Path, user: str
) -> dict[str, Any]:
    """Return the ``process`` of an exec, from the container's own.

    Raises:
        FlotillaError: With dockerd's text, if the user is not there.
    """
    env = dict(entry.partition("=")[::2] for entry in base["env"])
    if tty:
        env.setdefault("TERM", "xterm")
    for entry in asked.env:
        name, equals, value = entry.partition("=")
        if equals:
            env[name] = value
        else:
            env.pop(name, None)
    process = {
        **base,
        "args": list(asked.cmd or ()),
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": asked.working_dir or base["cwd"],
        "terminal": tty,
    }
    process.pop("consoleSize", None)
    if asked.user and asked.user != user:
        process["user"] = users.look_up(root, asked.user).as_oci()
    if asked.privileged:
        process["capabilities"] = _capability_sets(list(capabilities.available()))
    return process
