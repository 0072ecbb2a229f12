"""What dockerd fills in before a container is made, by the client's version."""

from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.records import NodeInfo
from flotilla_engine.versions import Version

SHM_SIZE = 64 * 1024 * 1024
MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def adapt_to_version(config: ContainerConfig, host_config: HostConfig, version: Version) -> None:
    """Drop what a client of an old version cannot mean, and give it that version's defaults."""
    if version < (1, 25):
        host_config.auto_remove = False
    if version < (1, 40):
        host_config.kernel_memory_tcp = 0
        host_config.ipc_mode = host_config.ipc_mode or "shareable"
    if version < (1, 41):
        host_config.cgroupns_mode = host_config.cgroupns_mode or "host"
    if version < (1, 42):
        host_config.console_size = None
    else:
        host_config.kernel_memory = 0
    if version < (1, 43):
        host_config.annotations = {}
    if version < (1, 44) and config.healthcheck is not None:
        config.healthcheck.start_interval = 0
    _adapt_mounts(host_config, version)


def _adapt_mounts(host_config: HostConfig, version: Version) -> None:
    for mount in host_config.mounts:
        bind = mount.bind_options
        if bind is not None:
            bind.non_recursive = bind.non_recursive and version >= (1, 40)
            bind.create_mountpoint = bind.create_mountpoint and version >= (1, 42)
            if version < (1, 44):
                bind.read_only_non_recursive = mount.read_only
                bind.read_only_force_recursive = False
        if version < (1, 42):
            mount.bind_options = bind if mount.type == "bind" else None
            if mount.type != "volume":
                mount.volume_options = None
            if mount.type != "tmpfs":
                mount.tmpfs_options = None
        if version < (1, 45) and mount.volume_options is not None:
            mount.volume_options.subpath = ""


def fill_in(host_config: HostConfig, *, default_runtime: str = "runc") -> None:
    """Set what was left open, as inspect shows it afterwards."""
    if host_config.network_mode in ("", "default"):
        host_config.network_mode = "bridge"
    if host_config.memory > 0 and host_config.memory_swap == 0:
        host_config.memory_swap = min(host_config.memory * 2, 2**63 - 1)
    if host_config.memory_swappiness == -1:
        host_config.memory_swappiness = None
    if host_config.pids_limit is not None and host_config.pids_limit <= 0:
        host_config.pids_limit = None
    host_config.oom_kill_disable = bool(host_config.oom_kill_disable)
    host_config.cpu_percent = 0
    host_config.shm_size = host_config.shm_size or SHM_SIZE
    host_config.ipc_mode = host_config.ipc_mode or "private"
    host_config.runtime = host_config.runtime or default_runtime
    host_config.restart_policy.name = host_config.restart_policy.name or "no"
    host_config.log_config.type = host_config.log_config.type or "json-file"
    _fill_in_security(host_config)


def fill_in_on_node(host_config: HostConfig, info: NodeInfo) -> None:
    """Set what depends on the node's cgroups."""
    if not host_config.cgroupns_mode:
        host_config.cgroupns_mode = "private" if info.cgroup_version == "2" else "host"
    if not info.oom_kill_disable:
        host_config.oom_kill_disable = None


def _fill_in_security(host_config: HostConfig) -> None:
    shares_host = host_config.pid_mode == "host" or host_config.ipc_mode == "host"
    if (host_config.privileged or shares_host) and not any(
        option.startswith("label") for option in host_config.security_opt
    ):
        host_config.security_opt.append("label=disable")
    if "systempaths=unconfined" in host_config.security_opt:
        host_config.security_opt.remove("systempaths=unconfined")
        host_config.masked_paths = []
        host_config.readonly_paths = []
    if host_config.privileged:
        return
    if host_config.masked_paths is None:
        host_config.masked_paths = list(MASKED_PATHS)
    if host_config.readonly_paths is None:
        host_config.readonly_paths = list(READONLY_PATHS)
