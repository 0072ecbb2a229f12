"""Whether and when an exited container is started again, as dockerd's restart manager decides."""

from __future__ import annotations

from flotilla_engine.host_config import RestartPolicy

_FIRST_MS = 100
_LIMIT_MS = 60_000
_RESET_AFTER_S = 10.0


def should_restart(
    policy: RestartPolicy,
    *,
    exit_code: int,
    restart_count: int,
    was_stopped: bool,
    was_signalled: bool = False,
) -> bool:
    """Tell whether the policy wants the container back.

    Args:
        policy: The container's restart policy.
        exit_code: How the run has ended.
        restart_count: How often the policy has brought it back already.
        was_stopped: Whether a user has stopped it.
        was_signalled: Whether a user has sent it any signal.
    """
    if was_stopped:
        return False
    match policy.name:
        case "always":
            return True
        case "unless-stopped":
            return not was_signalled
        case "on-failure":
            limit = policy.maximum_retry_count
            return exit_code != 0 and (limit == 0 or restart_count < limit)
        case _:
            return False


def next_backoff_ms(previous_ms: int, ran_s: float) -> int:
    """Return how long to wait: doubled each time, from the start after a run of 10 s."""
    if previous_ms == 0 or ran_s >= _RESET_AFTER_S:
        return _FIRST_MS
    return min(previous_ms * 2, _LIMIT_MS)


def is_wanted_at_boot(policy: RestartPolicy, *, was_running: bool, was_stopped: bool) -> bool:
    """Tell whether a container is to run after its host has come up again."""
    match policy.name:
        case "always":
            return True
        case "unless-stopped":
            return not was_stopped
        case "on-failure":
            return was_running and not was_stopped
        case _:
            return False
