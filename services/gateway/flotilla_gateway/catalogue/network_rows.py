"""The rows of networks and their endpoints, read within a transaction of the caller's."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from flotilla_core.ids import short_id
from flotilla_engine.networking import EndpointSettings, Ipam
from flotilla_engine.records import EndpointRecord, NetworkNode, NetworkRecord, NodeInfo
from flotilla_gateway.catalogue.tables import (
    ContainerRow,
    EndpointRow,
    Json,
    NetworkRow,
    NodeRow,
)
from flotilla_gateway.domain.ipam import Subnet


@dataclass(frozen=True)
class KnownNetwork:
    """A network as clients see it, and the pools that its addresses come from."""

    record: NetworkRecord
    pools: Ipam
    revision: int
    configured: bool  # whether its subnets were given by its user


def network_rows() -> Select[str, Json, int, bool]:
    """Select what `known_network` reads."""
    return select(NetworkRow.spec, NetworkRow.pools, NetworkRow.revision, NetworkRow.configured)


def known_network(row: Row[str, Json, int, bool]) -> KnownNetwork:
    """Return the network of a row."""
    return KnownNetwork(
        NetworkRecord.model_validate_json(row.spec),
        Ipam.model_validate(row.pools),
        row.revision,
        row.configured,
    )


def subnets_of(pools: object) -> list[Subnet]:
    """Return the subnets of a network's pools."""
    configs = Ipam.model_validate(pools).config
    return [ipaddress.ip_network(config.subnet) for config in configs if config.subnet]


async def nodes_of(
    connection: AsyncConnection, node_ids: Collection[str], *, tunnels: bool
) -> list[NetworkNode]:
    """Return these nodes as parts of a network, with their ends of the tunnels if asked for."""
    query = select(NodeRow.id, NodeRow.name, NodeRow.addr, NodeRow.info)
    rows = await connection.execute(query.where(NodeRow.id.in_(node_ids)).order_by(NodeRow.id))
    return [
        NetworkNode(
            id=row.id,
            name=row.name,
            address=row.addr,
            tunnel=NodeInfo.model_validate_json(row.info).node.tunnel if tunnels else None,
        )
        for row in rows
    ]


async def endpoints_where(
    connection: AsyncConnection, *conditions: ColumnElement[bool]
) -> list[EndpointRecord]:
    """Return endpoints by container and network."""
    query = (
        select(
            EndpointRow,
            ContainerRow.name.label("container_name"),
            ContainerRow.node_id,
            ContainerRow.running,
            NetworkRow.name.label("network_name"),
            NetworkRow.pools,
        )
        .join(ContainerRow, ContainerRow.id == EndpointRow.container_id)
        .join(NetworkRow, NetworkRow.id == EndpointRow.network_id)
        .where(*conditions)
        .order_by(EndpointRow.container_id, EndpointRow.network_id)
    )
    lengths: dict[str, dict[int, int]] = {}
    records = []
    for row in (await connection.execute(query)).all():
        if row.network_id not in lengths:
            lengths[row.network_id] = {
                subnet.version: subnet.prefixlen for subnet in subnets_of(row.pools)
            }
        records.append(_endpoint(row, lengths[row.network_id]))
    return records


def _endpoint(row: Row[*tuple[Any, ...]], lengths: dict[int, int]) -> EndpointRecord:
    asked = EndpointSettings.model_validate_json(row.settings)
    names = [row.container_name, *asked.aliases, short_id(row.container_id), *asked.dns_names]
    return EndpointRecord(
        id=row.id,
        network_id=row.network_id,
        network_name=row.network_name,
        container_id=row.container_id,
        container_name=row.container_name,
        node_id=row.node_id,
        mac_address=row.mac or "",
        ipv4_address=f"{row.ipv4}/{lengths.get(4, 32)}" if row.ipv4 else "",
        ipv6_address=f"{row.ipv6}/{lengths.get(6, 128)}" if row.ipv6 else "",
        names=list(dict.fromkeys(names)),
        running=row.running,
        settings=asked,
    )
