"""Checks of limits that hold on every host (moby ``daemon/daemon_unix.go``)."""

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.host_config import Resources, RestartPolicy

_MINIMUM_MEMORY = 6 * 1024 * 1024
_RETRIES_ONLY = "invalid restart policy: maximum retry count can only be used with 'on-failure'"


def check_resources(resources: Resources, *, update: bool = False) -> list[str]:
    """Check limits; returns warnings.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    _check_memory(resources, update=update)
    _check_cpu(resources)
    warnings = []
    if resources.oom_kill_disable and not resources.memory and not update:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources."
        )
    if resources.cpu_percent > 0:
        warnings.append("linux does not support CPU percent. Percent discarded.")
    for value, name in (
        (resources.io_maximum_bandwidth, "maximum bandwidth"),
        (resources.io_maximum_iops, "maximum IOPs"),
    ):
        if value:
            raise InvalidArgumentError(
                f"Invalid QoS settings: linux does not support configuration of {name}"
            )
    return warnings


def _check_memory(resources: Resources, *, update: bool) -> None:
    memory, swap = resources.memory, resources.memory_swap
    swappiness, reservation = resources.memory_swappiness, resources.memory_reservation
    wrong = ""
    if memory != 0 and memory < _MINIMUM_MEMORY:
        wrong = "Minimum memory limit allowed is 6MB"
    elif 0 < swap < memory:
        wrong = "Minimum memoryswap limit should be larger than memory limit, see usage"
    elif memory == 0 and swap > 0 and not update:
        wrong = "You should always set the Memory limit when using Memoryswap limit, see usage"
    elif swappiness is not None and swappiness != -1 and not 0 <= swappiness <= 100:
        wrong = f"Invalid value: {swappiness}, valid memory swappiness range is 0-100"
    elif 0 < reservation < _MINIMUM_MEMORY:
        wrong = "Minimum memory reservation allowed is 6MB"
    elif 0 < memory < reservation:
        wrong = "Minimum memory limit can not be less than memory reservation limit, see usage"
    elif 0 < resources.kernel_memory < _MINIMUM_MEMORY:
        wrong = "Minimum kernel memory limit allowed is 6MB"
    if wrong:
        raise InvalidArgumentError(wrong)


def _check_cpu(resources: Resources) -> None:
    wrong = ""
    if resources.nano_cpus > 0 and resources.cpu_period > 0:
        wrong = "Conflicting options: Nano CPUs and CPU Period cannot both be set"
    elif resources.nano_cpus > 0 and resources.cpu_quota > 0:
        wrong = "Conflicting options: Nano CPUs and CPU Quota cannot both be set"
    elif resources.cpu_period != 0 and not 1000 <= resources.cpu_period <= 1_000_000:
        wrong = (
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    elif 0 < resources.cpu_quota < 1000:
        wrong = "CPU cfs quota can not be less than 1ms (i.e. 1000)"
    elif 0 != resources.cpu_realtime_period < resources.cpu_realtime_runtime:
        wrong = "cpu real-time runtime cannot be higher than cpu real-time period"
    else:
        for text, name in (
            (resources.cpuset_cpus, "cpuset cpus"),
            (resources.cpuset_mems, "cpuset mems"),
        ):
            if parse_cpuset(text) is None:
                wrong = f"Invalid value {text} for {name}: invalid format: {text}"
                break
    if wrong:
        raise InvalidArgumentError(wrong)


def parse_cpuset(text: str) -> frozenset[int] | None:
    """Return the numbers in ``0-3,7``; None if it is no such list."""
    numbers: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit() and len(first) < 6):
            return None
        if dash and not (last.isascii() and last.isdigit() and len(last) < 6):
            return None
        end = int(last) if dash else int(first)
        if end < int(first) or end > 8192:
            return None
        numbers.update(range(int(first), end + 1))
    return frozenset(numbers)


def check_restart_policy(policy: RestartPolicy) -> None:
    """Check a restart policy.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    match policy.name:
        case "" | "no" | "always" | "unless-stopped":
            if policy.maximum_retry_count < 0:
                raise InvalidArgumentError(f"{_RETRIES_ONLY} and cannot be negative")
            if policy.maximum_retry_count > 0:
                raise InvalidArgumentError(_RETRIES_ONLY)
        case "on-failure":
            if policy.maximum_retry_count < 0:
                raise InvalidArgumentError(
                    "invalid restart policy: maximum retry count cannot be negative"
                )
        case _:
            raise InvalidArgumentError(
                f"invalid restart policy: unknown policy '{policy.name}'; "
                "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )
