"""Leases of addresses: one at a time in each network, by a lock on the network's row."""

import ipaddress
import secrets
from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from flotilla_core.errors import NotFoundError, PermissionDeniedError
from flotilla_engine.networking import EndpointSettings
from flotilla_gateway.catalogue.container_rows import bump
from flotilla_gateway.catalogue.network_rows import KnownNetwork, known_network, network_rows
from flotilla_gateway.catalogue.tables import (
    ContainerRow,
    EndpointRow,
    NetworkRow,
    ParticipantRow,
)
from flotilla_gateway.domain.ipam import Pool, PoolExhaustedError, lease, mac_of, pool_of


async def take_part(connection: AsyncConnection, network_id: str, node_id: str) -> None:
    """Note that a node has a part of the network."""
    known = await connection.scalar(
        select(ParticipantRow.node_id).where(
            ParticipantRow.network_id == network_id, ParticipantRow.node_id == node_id
        )
    )
    if known is None:
        await connection.execute(
            insert(ParticipantRow).values(
                network_id=network_id, node_id=node_id, applied_revision=0
            )
        )


async def lease_endpoint(
    connection: AsyncConnection, network_id: str, endpoint_id: str, asked: EndpointSettings
) -> None:
    """Give an endpoint an address of each kind that its network has."""
    row = (
        await connection.execute(
            network_rows().where(NetworkRow.id == network_id).with_for_update()
        )
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"network {network_id} not found")
    network = known_network(row)
    if network.record.config_only:
        raise PermissionDeniedError("cannot create endpoint on configuration-only network")
    pools = [pool_of(config) for config in network.pools.config if config.subnet]
    wanted = asked.ipam_config
    ipv4 = await _address(connection, network, pools, 4, wanted.ipv4_address if wanted else "")
    ipv6 = None
    if network.record.enable_ipv6:
        ipv6 = await _address(connection, network, pools, 6, wanted.ipv6_address if wanted else "")
    mac = asked.mac_address or mac_of(ipv4, secrets.token_bytes(4))
    await connection.execute(
        update(EndpointRow)
        .where(EndpointRow.id == endpoint_id)
        .values(ipv4=ipv4, ipv6=ipv6, mac=mac)
    )
    await bump(connection, [network_id])


async def _address(
    connection: AsyncConnection,
    network: KnownNetwork,
    pools: Sequence[Pool],
    version: int,
    wanted: str,
) -> str | None:
    column = EndpointRow.ipv4 if version == 4 else EndpointRow.ipv6
    held = select(EndpointRow.id, column.label("address"), ContainerRow.running).join(
        ContainerRow, ContainerRow.id == EndpointRow.container_id
    )
    held = held.where(EndpointRow.network_id == network.record.id, column.is_not(None))
    rows = (await connection.execute(held)).all()
    name = f"{network.record.name} ({network.record.id})"
    wanted = str(ipaddress.ip_address(wanted)) if wanted else ""
    idle = {row.address: row.id for row in rows if not row.running}
    used = {row.address for row in rows}
    try:
        address = lease(pools, version, wanted, used - {wanted} if wanted in idle else used)
    except PoolExhaustedError:
        try:
            address = lease(pools, version, wanted, used - set(idle))
        except PoolExhaustedError as error:
            raise PoolExhaustedError(version, name) from error
    if address in idle:
        await connection.execute(
            update(EndpointRow)
            .where(EndpointRow.id == idle[address])
            .values(ipv4=None, ipv6=None, mac=None)
        )
    return address
