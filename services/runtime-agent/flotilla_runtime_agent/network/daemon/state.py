"""What the agent tells the network daemon."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NetworkNames:
    """The names of a network's running containers; it replaces what was known of the network."""

    network_id: str
    name: str
    forward: dict[str, list[str]] = field(default_factory=dict)  # lower case name: addresses
    reverse: dict[str, str] = field(default_factory=dict)  # address: container


@dataclass(frozen=True)
class Resolver:
    """The embedded DNS server of a sandbox."""

    container_id: str
    key: str  # path of the network namespace
    networks: list[str]  # ids; earlier ones first
    links: dict[str, str]  # lower case alias: container
    forwarders: list[str]  # none: other names are not looked up
    forwards_inside: bool
    ndots_set: bool  # single words are not asked for outside


@dataclass(frozen=True)
class HeldPort:
    """A port of the host that nobody else may take; target: who gets what reaches its socket."""

    owner: str
    protocol: str
    host: str
    port: int
    target: tuple[str, int] | None = None

    @property
    def place(self) -> tuple[str, str, int]:
        """What there is only once on a host."""
        return self.protocol, self.host, self.port
