"""User networks in the catalogue: address pools, leases, and which nodes take part."""

import ipaddress
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from flotilla_core.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from flotilla_core.ids import short_id
from flotilla_database import Database
from flotilla_engine.networking import EndpointSettings, Ipam
from flotilla_engine.records import EndpointRecord, NetworkNode, NetworkRecord, NetworkState
from flotilla_gateway.catalogue.containers import bump, endpoint_values
from flotilla_gateway.catalogue.tables import (
    ContainerRow,
    EndpointRow,
    FleetRow,
    Json,
    NetworkRow,
    NodeRow,
    ParticipantRow,
)
from flotilla_gateway.domain.ipam import Pool, PoolExhaustedError, Subnet, lease, mac_of, pool_of

_FIRST_VNI = 4096
_SPANNING = ("bridge", "overlay")


@dataclass(frozen=True)
class KnownNetwork:
    """A network as clients see it, and the pools that its addresses come from."""

    record: NetworkRecord
    pools: Ipam
    revision: int
    configured: bool  # whether its subnets were given by its user


Plan = Callable[[Sequence[Subnet]], tuple[NetworkRecord, Ipam]]


class Networks:
    """The tables of networks, endpoints and participants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, plan: Plan, *, configured: bool) -> NetworkRecord:
        """Make a network; `plan` gets the subnets in use and returns record and pools.

        Only one network of the fleet is planned at a time, so pools never overlap.

        Raises:
            ConflictError: If another network has the name.
        """
        try:
            async with self._database.transaction() as connection:
                await _lock_pools(connection)
                rows = (await connection.scalars(select(NetworkRow.pools))).all()
                record, pools = plan([subnet for row in rows for subnet in _subnets(row)])
                if record.driver in _SPANNING and not record.config_only:
                    record = record.model_copy(update={"vni": await _free_vni(connection)})
                await connection.execute(
                    insert(NetworkRow).values(
                        id=record.id,
                        name=record.name,
                        driver=record.driver,
                        created_at=record.created.timestamp(),
                        vni=record.vni or None,
                        spec=record.model_dump_json(),
                        pools=pools.model_dump(mode="json"),
                        configured=configured,
                        revision=1,
                    )
                )
        except IntegrityError as error:
            raise ConflictError(f"network with name {name} already exists") from error
        return record

    async def all(self) -> list[KnownNetwork]:
        """Return the user networks, oldest first."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(_networks().order_by(NetworkRow.created_at))).all()
        return [_known(row) for row in rows]

    async def find(self, reference: str) -> KnownNetwork:
        """Return the network of that id, name or unique id prefix.

        Raises:
            NotFoundError: If there is none.
            InvalidArgumentError: If the prefix fits several.
        """
        matches = or_(
            NetworkRow.name == reference, NetworkRow.id.startswith(reference, autoescape=True)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(_networks().where(matches))).all()
        found = [_known(row) for row in rows]
        for exact in (
            [network for network in found if network.record.id == reference],
            [network for network in found if network.record.name == reference],
        ):
            if exact:
                return exact[0]
        if not reference or not found:
            raise NotFoundError(f"network {reference} not found")
        if len(found) > 1:
            raise InvalidArgumentError(
                f"network {reference} is ambiguous ({len(found)} matches found on ID prefix)"
            )
        return found[0]

    async def remove(self, network_id: str, *, only_if_unused: bool = False) -> bool:
        """Remove a network that no running container is in; forgets stopped ones' endpoints.

        Returns:
            False if it is used and `only_if_unused` asks for that.

        Raises:
            PermissionDeniedError: If containers are in it (dockerd's status).
        """
        async with self._database.transaction() as connection:
            row = (
                await connection.execute(
                    _networks().where(NetworkRow.id == network_id).with_for_update()
                )
            ).one_or_none()
            if row is None:
                raise NotFoundError(f"network {network_id} not found")
            running = (
                select(func.count())
                .select_from(EndpointRow)
                .join(ContainerRow, ContainerRow.id == EndpointRow.container_id)
            )
            running = running.where(EndpointRow.network_id == network_id)
            if not only_if_unused:
                running = running.where(ContainerRow.running)
            if await connection.scalar(running):
                if only_if_unused:
                    return False
                name = _known(row).record.name
                raise PermissionDeniedError(
                    f"error while removing network: network {name} id {network_id} has "
                    "active endpoints"
                )
            await connection.execute(
                delete(EndpointRow).where(EndpointRow.network_id == network_id)
            )
            await connection.execute(delete(NetworkRow).where(NetworkRow.id == network_id))
        return True

    async def used(self) -> set[str]:
        """Return the ids of networks that have endpoints, running or not."""
        async with self._database.reading() as connection:
            return set(await connection.scalars(select(EndpointRow.network_id).distinct()))

    async def endpoints(self, network_id: str) -> list[EndpointRecord]:
        """Return the endpoints of a network."""
        async with self._database.reading() as connection:
            return await _endpoints(connection, EndpointRow.network_id == network_id)

    async def of_container(self, container_id: str) -> list[EndpointRecord]:
        """Return the endpoints of a container."""
        async with self._database.reading() as connection:
            return await _endpoints(connection, EndpointRow.container_id == container_id)

    async def connect(self, network_id: str, container_id: str, asked: EndpointSettings) -> None:
        """Note that a container is to be in a network, without a lease; again: replaces it."""
        values = endpoint_values(network_id, container_id, asked)
        async with self._database.transaction() as connection:
            known = await connection.scalar(
                select(EndpointRow.id).where(
                    EndpointRow.network_id == network_id, EndpointRow.container_id == container_id
                )
            )
            if known is None:
                await connection.execute(insert(EndpointRow).values(**values))
            else:
                await connection.execute(
                    update(EndpointRow)
                    .where(EndpointRow.id == known)
                    .values(settings=values["settings"], ipv4=None, ipv6=None, mac=None)
                )
            await bump(connection, [network_id])

    async def disconnect(self, network_id: str, container_id: str) -> bool:
        """Take a container out of a network; False if it was not in it."""
        async with self._database.transaction() as connection:
            gone = await connection.execute(
                delete(EndpointRow).where(
                    EndpointRow.network_id == network_id, EndpointRow.container_id == container_id
                )
            )
            if gone.rowcount:
                await bump(connection, [network_id])
        return bool(gone.rowcount)

    async def lease(self, container_id: str, network_ids: Collection[str] | None = None) -> None:
        """Give the container an address in each of its networks (or of these) that lacks one.

        Leases of stopped containers are taken over where an address is asked for or none is left.

        Raises:
            PermissionDeniedError: If an address asked for is in use.
            PoolExhaustedError: If no address is left.
        """
        query = (
            select(
                EndpointRow.id, EndpointRow.network_id, EndpointRow.settings, ContainerRow.node_id
            )
            .join(ContainerRow, ContainerRow.id == EndpointRow.container_id)
            .where(EndpointRow.container_id == container_id, EndpointRow.mac.is_(None))
            .order_by(EndpointRow.network_id)
        )
        async with self._database.transaction() as connection:
            for row in (await connection.execute(query)).all():
                if network_ids is None or row.network_id in network_ids:
                    asked = EndpointSettings.model_validate_json(row.settings)
                    await _lease(connection, row.network_id, row.id, asked)
                    await _take_part(connection, row.network_id, row.node_id)

    async def state(self, network_id: str) -> NetworkState | None:
        """Return all that nodes should know of a network; None if it is gone."""
        async with self._database.reading() as connection:
            row = (
                await connection.execute(_networks().where(NetworkRow.id == network_id))
            ).one_or_none()
            if row is None:
                return None
            network = _known(row)
            endpoints = await _endpoints(
                connection, EndpointRow.network_id == network_id, EndpointRow.mac.is_not(None)
            )
            wanted = {endpoint.node_id for endpoint in endpoints}
            nodes = (
                await connection.execute(
                    select(NodeRow.id, NodeRow.name, NodeRow.addr)
                    .where(NodeRow.id.in_(wanted))
                    .order_by(NodeRow.id)
                )
            ).all()
        return NetworkState(
            network=network.record.model_copy(update={"ipam": network.pools}),
            revision=network.revision,
            nodes=[NetworkNode(id=row.id, name=row.name, address=row.addr) for row in nodes],
            endpoints=endpoints,
        )

    async def changed(self, network_ids: Collection[str]) -> None:
        """Give networks their next revision."""
        if network_ids:
            async with self._database.transaction() as connection:
                await bump(connection, network_ids)

    async def of_node(self, node_id: str) -> list[str]:
        """Return the networks that a node takes part in."""
        async with self._database.reading() as connection:
            query = select(ParticipantRow.network_id).where(ParticipantRow.node_id == node_id)
            return list(await connection.scalars(query))

    async def behind(self) -> list[tuple[str, str]]:
        """Return (network, node) of all nodes that have not applied the newest revision."""
        query = (
            select(ParticipantRow.network_id, ParticipantRow.node_id)
            .outerjoin(NetworkRow, NetworkRow.id == ParticipantRow.network_id)
            .where(
                or_(
                    NetworkRow.id.is_(None),
                    ParticipantRow.applied_revision < NetworkRow.revision,
                )
            )
        )
        async with self._database.reading() as connection:
            return [(row.network_id, row.node_id) for row in await connection.execute(query)]

    async def participants(self, network_id: str) -> dict[str, int]:
        """Return the nodes that have a part of the network, with the revision they know."""
        query = select(ParticipantRow.node_id, ParticipantRow.applied_revision)
        async with self._database.reading() as connection:
            rows = await connection.execute(query.where(ParticipantRow.network_id == network_id))
            return {row.node_id: row.applied_revision for row in rows}

    async def applied(
        self, network_id: str, node_id: str, revision: int, *, takes_part: bool
    ) -> None:
        """Note what a node knows; one that takes no part any more is forgotten.

        A node that has got an endpoint meanwhile is kept, and told again.
        """
        this = (ParticipantRow.network_id == network_id) & (ParticipantRow.node_id == node_id)
        async with self._database.transaction() as connection:
            await connection.scalar(
                select(NetworkRow.id).where(NetworkRow.id == network_id).with_for_update()
            )
            if not takes_part:
                leased = (
                    select(EndpointRow.id)
                    .join(ContainerRow, ContainerRow.id == EndpointRow.container_id)
                    .where(
                        EndpointRow.network_id == network_id,
                        ContainerRow.node_id == node_id,
                        EndpointRow.mac.is_not(None),
                    )
                )
                await connection.execute(delete(ParticipantRow).where(this, ~leased.exists()))
                return
            await _take_part(connection, network_id, node_id)
            await connection.execute(
                update(ParticipantRow)
                .where(this, ParticipantRow.applied_revision < revision)
                .values(applied_revision=revision)
            )


def _networks() -> Select[str, Json, int, bool]:
    return select(NetworkRow.spec, NetworkRow.pools, NetworkRow.revision, NetworkRow.configured)


def _known(row: Row[str, Json, int, bool]) -> KnownNetwork:
    return KnownNetwork(
        NetworkRecord.model_validate_json(row.spec),
        Ipam.model_validate(row.pools),
        row.revision,
        row.configured,
    )


def _subnets(pools: object) -> list[Subnet]:
    configs = Ipam.model_validate(pools).config
    return [ipaddress.ip_network(config.subnet) for config in configs if config.subnet]


async def _lock_pools(connection: AsyncConnection) -> None:
    await connection.scalar(select(FleetRow.value).where(FleetRow.key == "ipam").with_for_update())


async def _free_vni(connection: AsyncConnection) -> int:
    highest = await connection.scalar(select(func.max(NetworkRow.vni)))
    return _FIRST_VNI if highest is None else highest + 1


async def _take_part(connection: AsyncConnection, network_id: str, node_id: str) -> None:
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


async def _lease(
    connection: AsyncConnection, network_id: str, endpoint_id: str, asked: EndpointSettings
) -> None:
    row = (
        await connection.execute(_networks().where(NetworkRow.id == network_id).with_for_update())
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"network {network_id} not found")
    network = _known(row)
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


async def _endpoints(
    connection: AsyncConnection, *conditions: ColumnElement[bool]
) -> list[EndpointRecord]:
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
                subnet.version: subnet.prefixlen for subnet in _subnets(row.pools)
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
