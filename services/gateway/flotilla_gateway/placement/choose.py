"""The choice of a node: what the filters leave, ranked by the strategy."""

import random
from collections.abc import Sequence
from enum import StrEnum

from flotilla_core.errors import ConflictError, FlotillaError, UnavailableError
from flotilla_engine.records import NodeRecord
from flotilla_gateway.placement.filters import FILTERS, active, met_wishes, port_clashes
from flotilla_gateway.placement.nodes import Candidate, Wanted


class Strategy(StrEnum):
    """How nodes that could take a container are ranked."""

    SPREAD = "spread"
    BINPACK = "binpack"
    RANDOM = "random"


def choose(
    wanted: Wanted, candidates: Sequence[Candidate], strategy: Strategy = Strategy.SPREAD
) -> NodeRecord:
    """Return the node that gets the container.

    Raises:
        UnavailableError: If the fleet has no node, or none that answers.
        ConflictError: If no node can take it; the text says for each node why.
    """
    refusals: dict[str, str] = {}
    left = []
    for candidate in candidates:
        if reason := _refusal(wanted, candidate):
            refusals[candidate.node.name] = reason
        else:
            left.append(candidate)
    if not left:
        raise _refused(candidates, refusals)
    return min(left, key=lambda candidate: _rank(wanted, candidate, strategy)).node


def _refusal(wanted: Wanted, candidate: Candidate) -> str:
    bound = bool(wanted.homes)
    for check in FILTERS:
        if check is active and bound:
            continue  # what belongs to a container or volume of a drained node goes there
        if reason := check(wanted, candidate):
            return reason
    return ""


def _refused(candidates: Sequence[Candidate], refusals: dict[str, str]) -> FlotillaError:
    if not candidates:
        return UnavailableError("no node has joined the fleet")
    reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(refusals.items()))
    text = f"no node can run this container: {reasons}"
    if all(candidate.silent_s is not None for candidate in candidates):
        return UnavailableError(text)
    return ConflictError(text)


def _rank(
    wanted: Wanted, candidate: Candidate, strategy: Strategy
) -> tuple[tuple[int, int], int, float, float, str]:
    load = _load(wanted, candidate)
    crowd = float(candidate.containers)
    match strategy:
        case Strategy.SPREAD:
            order = (load, crowd)
        case Strategy.BINPACK:
            order = (-load, -crowd)
        case Strategy.RANDOM:
            order = (random.random(), 0.0)
    return (
        port_clashes(wanted, candidate),
        -met_wishes(wanted, candidate),
        *order,
        candidate.node.name,
    )


def _load(wanted: Wanted, candidate: Candidate) -> float:
    """Return the share of the node that is spoken for, in steps that single containers pass."""
    shares = [0.0]
    if candidate.node.cpus:
        shares.append(candidate.nano_cpus / 10**9 / candidate.node.cpus)
    if candidate.node.memory_bytes:
        shares.append(candidate.memory_bytes / candidate.node.memory_bytes)
    return round(max(shares), 1)
