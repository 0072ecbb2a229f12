"""Checks of ``ContainerUpdate`` (moby ``container.UpdateContainer``)."""

from flotilla_core.errors import ConflictError, InvalidArgumentError
from flotilla_engine.host_config import HostConfig
from flotilla_engine.updates import UpdateConfig
from flotilla_engine.validate.resources import check_resources, check_restart_policy


def check_update(update: UpdateConfig) -> list[str]:
    """Check an update in itself; returns warnings.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    warnings = check_resources(update, update=True)
    if update.restart_policy.name:
        check_restart_policy(update.restart_policy)
    return warnings


def check_update_of(current: HostConfig, update: UpdateConfig) -> None:
    """Check an update against what the container has.

    Raises:
        InvalidArgumentError: If the container removes itself, so that no policy can restart it.
        ConflictError: If it does not go with the container's own limits.
    """
    if current.auto_remove and update.restart_policy.name not in ("", "no"):
        raise InvalidArgumentError(
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        )
    if update.memory and not update.memory_swap and current.memory_swap < update.memory:
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
