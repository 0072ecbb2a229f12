"""Checks of ``ContainerUpdate`` (moby ``container.UpdateContainer``)."""

from flotilla_core.errors import ConflictError, InvalidArgumentError
from flotilla_engine.host_config import HostConfig
from flotilla_engine.updates import UpdateConfig
from flotilla_engine.validate.resources import check_resources, check_restart_policy


def check_update(update: UpdateConfig, current: HostConfig) -> list[str]:
    """Check an update against what the container has; returns warnings.

    Raises:
        InvalidArgumentError: If the request is wrong in itself, with dockerd's text.
        ConflictError: If it does not go with the container's own limits.
    """
    warnings = check_resources(update, update=True)
    if update.restart_policy.name:
        check_restart_policy(update.restart_policy)
    if current.auto_remove and update.restart_policy.name not in ("", "no"):
        raise InvalidArgumentError(
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        )
    if update.memory and not update.memory_swap and 0 < current.memory_swap < update.memory:
        raise ConflictError(
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time"
        )
    if current.nano_cpus > 0 and update.cpu_period > 0:
        raise ConflictError(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set"
        )
    if current.nano_cpus > 0 and update.cpu_quota > 0:
        raise ConflictError(
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
        )
    if update.nano_cpus > 0 and current.cpu_quota > 0:
        raise ConflictError(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"
        )
    if update.nano_cpus > 0 and current.cpu_period > 0:
        raise ConflictError(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set"
        )
    return warnings
