"""What a container is to others: to those that join its namespaces, and to the networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flotilla_engine.records import ContainerRecord, EndpointRecord
from flotilla_runtime_agent.ports import Joining
from flotilla_runtime_agent.runtime.processes import ProcessRef


@dataclass(frozen=True)
class Peer:
    """A running container whose namespaces another one joins."""

    record: ContainerRecord
    process: ProcessRef


Peers = Callable[[str], Peer]
"""Finds a running container by a reference to it."""


def joining_of(record: ContainerRecord, endpoints: Sequence[EndpointRecord]) -> Joining:
    """Describe a container to the networks."""
    return Joining(
        container_id=record.id,
        name=record.name,
        hostname=record.config.hostname,
        domainname=record.config.domainname,
        host_config=record.host_config,
        exposed_ports=list(record.config.exposed_ports),
        endpoints=list(endpoints),
        labels=record.config.labels,
    )
