"""What placement looks at: the container that is wanted, and the nodes it could go to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flotilla_engine.records import NodeRecord, Platform
from flotilla_gateway.placement.expressions import Wishes


@dataclass(frozen=True)
class PortClaim:
    """A fixed host port; an empty address is every address."""

    protocol: str
    port: int
    address: str = ""

    def clashes(self, other: "PortClaim") -> bool:
        """Return whether both cannot be had on one node."""
        return (self.protocol, self.port) == (other.protocol, other.port) and (
            self.anywhere or other.anywhere or self.address == other.address
        )

    @property
    def anywhere(self) -> bool:
        """Whether it is claimed on every address."""
        return self.address in ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Home:
    """A node that the container must go to, and why."""

    node_id: str
    reason: str


@dataclass(frozen=True)
class Wanted:
    """A container that looks for a node."""

    wishes: Wishes = field(default_factory=Wishes)
    platforms: Sequence[Platform] = ()
    nano_cpus: int = 0
    memory_bytes: int = 0
    ports: Sequence[PortClaim] = ()
    homes: Sequence[Home] = ()
    encrypted: str = ""  # name of a network that must not leave a node in the clear


@dataclass(frozen=True)
class Neighbour:
    """A container that is on a node already, as affinities see it."""

    id: str
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Candidate:
    """A node that may get the container; `silent_s` is how long it has not been heard of."""

    node: NodeRecord
    drained: bool = False
    silent_s: float | None = None
    containers: int = 0
    nano_cpus: int = 0
    memory_bytes: int = 0
    claimed: Sequence[PortClaim] = ()
    bound: Sequence[PortClaim] = ()  # those of `claimed` whose container runs
    neighbours: Sequence[Neighbour] = ()
