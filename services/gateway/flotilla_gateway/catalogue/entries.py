"""Containers as the catalogue takes them in and gives them out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flotilla_engine.networking import EndpointSettings
from flotilla_engine.records import ContainerRecord
from flotilla_gateway.placement.nodes import PortClaim


@dataclass(frozen=True)
class NewContainer:
    """What is reserved before a node is asked to make the container."""

    id: str
    name: str
    node_id: str
    created_at: float
    image_id: str
    image: str
    labels: dict[str, str]
    memory_bytes: int = 0
    nano_cpus: int = 0
    ports: Sequence[PortClaim] = ()
    volumes: Collection[str] = ()
    networks: dict[str, EndpointSettings] = field(default_factory=dict)  # by network id


class Entry(NamedTuple):
    """A container as the catalogue has it; the record is None while it is being made."""

    id: str
    name: str
    node_id: str
    revision: int
    record: ContainerRecord | None


@dataclass(frozen=True)
class Outcome:
    """What a node's report changed: nothing if it was older than what was known."""

    changed: bool
    running_changed: bool = False
    removed: bool = False
    unknown: bool = False  # the catalogue has no such container
    networks: Sequence[str] = ()  # user networks of the container
