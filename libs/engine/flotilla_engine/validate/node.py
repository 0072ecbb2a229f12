"""Checks that depend on the host: CPUs, runtimes and what its kernel can."""

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.host_config import RUNC_SHIM, HostConfig, Resources
from flotilla_engine.records import NodeInfo
from flotilla_engine.validate.resources import parse_cpuset

_NOT_MOUNTED = "or the cgroup is not mounted"


def check_on_node(resources: Resources, info: NodeInfo) -> list[str]:
    """Check limits, and a host configuration's runtime, against a node; returns warnings.

    Block I/O weights that the node cannot set are discarded, as the warnings say.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    cpus = info.node.cpus
    if cpus and not 0 <= resources.nano_cpus <= cpus * 1_000_000_000:
        raise InvalidArgumentError(
            f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )
    wanted = parse_cpuset(resources.cpuset_cpus) or frozenset()
    if cpus and any(number >= cpus for number in wanted):
        available = f"0-{cpus - 1}" if cpus > 1 else "0"
        raise InvalidArgumentError(
            f"Requested CPUs are not available - requested {resources.cpuset_cpus}, "
            f"available: {available}"
        )
    if resources.blkio_weight and info.blkio_weight and not 10 <= resources.blkio_weight <= 1000:
        raise InvalidArgumentError("Range of blkio weight is from 10 to 1000")
    if isinstance(resources, HostConfig):
        runtime = resources.runtime
        known = (*info.runtimes, "", RUNC_SHIM)
        if info.runtimes and runtime not in known:
            raise InvalidArgumentError(f"unknown or invalid runtime name: {runtime}")
    warnings = _warnings(resources, info)
    if not info.blkio_weight:
        resources.blkio_weight = 0
    if not info.blkio_weight_device:
        resources.blkio_weight_device = []
    return warnings


def _warnings(resources: Resources, info: NodeInfo) -> list[str]:
    limited = resources.memory > 0
    missing = (
        (
            limited and not info.memory_limit,
            f"Your kernel does not support memory limit capabilities {_NOT_MOUNTED}. "
            "Limitation discarded.",
        ),
        (
            limited and resources.memory_swap != -1 and not info.swap_limit,
            f"Your kernel does not support swap limit capabilities {_NOT_MOUNTED}. "
            "Memory limited without swap.",
        ),
        (
            (resources.cpu_period or resources.cpu_quota) and not info.cpu_cfs,
            f"Your kernel does not support CPU CFS scheduler {_NOT_MOUNTED}. "
            "Period and quota discarded.",
        ),
        (
            resources.cpu_shares > 0 and not info.cpu_shares,
            f"Your kernel does not support CPU shares {_NOT_MOUNTED}. Shares discarded.",
        ),
        (
            (resources.cpuset_cpus or resources.cpuset_mems) and not info.cpu_set,
            f"Your kernel does not support cpuset {_NOT_MOUNTED}. Cpuset discarded.",
        ),
        (
            resources.pids_limit is not None and resources.pids_limit > 0 and not info.pids_limit,
            f"Your kernel does not support PIDs limit capabilities {_NOT_MOUNTED}. "
            "PIDs limit discarded.",
        ),
        (
            resources.oom_kill_disable and not info.oom_kill_disable,
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
        ),
        (
            resources.blkio_weight and not info.blkio_weight,
            f"Your kernel does not support Block I/O weight {_NOT_MOUNTED}. Weight discarded.",
        ),
        (
            resources.blkio_weight_device and not info.blkio_weight_device,
            f"Your kernel does not support Block I/O weight_device {_NOT_MOUNTED}. "
            "Weight-device discarded.",
        ),
    )
    return [text for is_missing, text in missing if is_missing]
