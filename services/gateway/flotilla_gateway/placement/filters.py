"""Filters: each says why a node cannot take a container, or nothing."""

from collections.abc import Callable, Iterable

from flotilla_engine.records import Platform
from flotilla_gateway.placement.expressions import Expression
from flotilla_gateway.placement.nodes import Candidate, Wanted

Filter = Callable[[Wanted, Candidate], str]

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def healthy(wanted: Wanted, candidate: Candidate) -> str:
    """Refuse nodes that are not heard of."""
    if candidate.silent_s is not None:
        return f"unreachable for {candidate.silent_s:.0f} seconds"
    return ""


def home(wanted: Wanted, candidate: Candidate) -> str:
    """Refuse nodes other than the one that a volume or another container is on."""
    for place in wanted.homes:
        if place.node_id != candidate.node.id:
            return place.reason
    return ""


def active(wanted: Wanted, candidate: Candidate) -> str:
    """Refuse drained nodes."""
    return "drained" if candidate.drained else ""


def platform(wanted: Wanted, candidate: Candidate) -> str:
    """Refuse nodes of a platform that the image is not for."""
    here = candidate.node.platform
    if not wanted.platforms or any(_same(here, one) for one in wanted.platforms):
        return ""
    names = ", ".join(f"{one.os}/{one.architecture}" for one in wanted.platforms)
    return f"platform {here.os}/{here.architecture} (image is for {names})"


def _same(here: Platform, other: Platform) -> bool:
    return (here.os, _architecture(here)) == (other.os, _architecture(other))


def _architecture(one: Platform) -> str:
    return _ARCHITECTURES.get(one.architecture, one.architecture)


def resources(wanted: Wanted, candidate: Candidate) -> str:
    """Refuse nodes that have fewer CPUs or less memory than the container asks for."""
    cpus = candidate.node.cpus
    if cpus and wanted.nano_cpus > cpus * 10**9:
        return f"has {cpus} CPUs ({wanted.nano_cpus / 10**9:g} wanted)"
    memory = candidate.node.memory_bytes
    if memory and wanted.memory_bytes > memory:
        return f"has {memory} bytes of memory ({wanted.memory_bytes} wanted)"
    return ""


def encryption(wanted: Wanted, candidate: Candidate) -> str:
    """Refuse nodes that cannot take part in an encrypted network."""
    if not wanted.encrypted or candidate.node.tunnel is not None:
        return ""
    reason = candidate.node.encryption or "its agent is older"
    return f"cannot encrypt network {wanted.encrypted} ({reason})"


def constraints(wanted: Wanted, candidate: Candidate) -> str:
    """Refuse nodes that do not meet a constraint."""
    return _first_unmet(wanted.wishes.constraints, candidate, _attribute, "constraint")


def affinities(wanted: Wanted, candidate: Candidate) -> str:
    """Refuse nodes without (or with) the containers, images or labels that were named."""
    return _first_unmet(wanted.wishes.affinities, candidate, _neighbourhood, "affinity")


def _first_unmet(
    expressions: Iterable[Expression],
    candidate: Candidate,
    values_of: Callable[[str, Candidate], list[str]],
    kind: str,
) -> str:
    for expression in expressions:
        if expression.soft:
            continue
        values = values_of(expression.key, candidate)
        if not expression.accepts(values):
            here = f" ({expression.key} is {', '.join(values)})" if 0 < len(values) < 4 else ""
            return f"{kind} {expression} not met{here}"
    return ""


def met_wishes(wanted: Wanted, candidate: Candidate) -> int:
    """Return how many soft constraints and affinities the node meets."""
    return sum(
        expression.accepts(values_of(expression.key, candidate))
        for expressions, values_of in (
            (wanted.wishes.constraints, _attribute),
            (wanted.wishes.affinities, _neighbourhood),
        )
        for expression in expressions
        if expression.soft
    )


def _attribute(key: str, candidate: Candidate) -> list[str]:
    node = candidate.node
    match key:
        case "node":
            return [node.name, node.id]
        case "node.id":
            return [node.id]
        case "node.hostname" | "node.name":
            return [node.name]
        case "node.addr" | "node.ip" | "node.address":
            return [node.address]
        case "node.platform.os" | "operatingsystem" | "ostype":
            return [node.platform.os]
        case "node.platform.arch" | "architecture":
            return [node.platform.architecture, _architecture(node.platform)]
    label = key.removeprefix("node.labels.").removeprefix("engine.labels.")
    return [node.labels[label]] if label in node.labels else []


def _neighbourhood(key: str, candidate: Candidate) -> list[str]:
    values: list[str] = []
    for neighbour in candidate.neighbours:
        match key:
            case "container":
                values += [neighbour.name, neighbour.id, neighbour.id[:12]]
            case "image":
                values += [neighbour.image, neighbour.image_id]
            case _ if key in neighbour.labels:
                values.append(neighbour.labels[key])
            case _:
                pass
    return values


def port_clashes(wanted: Wanted, candidate: Candidate) -> tuple[int, int]:
    """Return how many wanted ports are bound, and how many are claimed, on the node.

    A claim is no refusal: a port is taken at the start, and until then its holder may be gone
    (compose makes the new container before it removes the old one).
    """
    return (
        sum(any(mine.clashes(other) for other in candidate.bound) for mine in wanted.ports),
        sum(any(mine.clashes(other) for other in candidate.claimed) for mine in wanted.ports),
    )


FILTERS: tuple[Filter, ...] = (
    healthy,
    home,
    active,
    platform,
    encryption,
    constraints,
    affinities,
    resources,
)
