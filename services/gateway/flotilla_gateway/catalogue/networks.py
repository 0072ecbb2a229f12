"""User networks in the catalogue: address pools, leases, and which nodes take part."""

from collections.abc import Callable, Collection, Sequence

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from flotilla_core.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from flotilla_database import Database
from flotilla_engine.networking import EndpointSettings, Ipam
from flotilla_engine.records import EndpointRecord, NetworkRecord, NetworkState
from flotilla_gateway.catalogue.container_rows import bump, endpoint_values
from flotilla_gateway.catalogue.leases import lease_endpoint, take_part
from flotilla_gateway.catalogue.network_rows import (
    KnownNetwork,
    endpoints_where,
    known_network,
    network_rows,
    nodes_of,
    subnets_of,
)
from flotilla_gateway.catalogue.tables import (
    ContainerRow,
    EndpointRow,
    FleetRow,
    NetworkRow,
    ParticipantRow,
)
from flotilla_gateway.domain.ipam import Subnet

_FIRST_VNI = 4096
_SPANNING = ("bridge", "overlay")

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
                record, pools = plan([subnet for row in rows for subnet in subnets_of(row)])
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
            rows = (await connection.execute(network_rows().order_by(NetworkRow.created_at))).all()
        return [known_network(row) for row in rows]

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
            rows = (await connection.execute(network_rows().where(matches))).all()
        found = [known_network(row) for row in rows]
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
                    network_rows().where(NetworkRow.id == network_id).with_for_update()
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
                name = known_network(row).record.name
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
            return await endpoints_where(connection, EndpointRow.network_id == network_id)

    async def of_container(self, container_id: str) -> list[EndpointRecord]:
        """Return the endpoints of a container."""
        async with self._database.reading() as connection:
            return await endpoints_where(connection, EndpointRow.container_id == container_id)

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
                    await lease_endpoint(connection, row.network_id, row.id, asked)
                    await take_part(connection, row.network_id, row.node_id)

    async def state(self, network_id: str) -> NetworkState | None:
        """Return all that nodes should know of a network; None if it is gone."""
        async with self._database.reading() as connection:
            row = (
                await connection.execute(network_rows().where(NetworkRow.id == network_id))
            ).one_or_none()
            if row is None:
                return None
            network = known_network(row)
            endpoints = await endpoints_where(
                connection, EndpointRow.network_id == network_id, EndpointRow.mac.is_not(None)
            )
            wanted = {endpoint.node_id for endpoint in endpoints}
            nodes = await nodes_of(connection, wanted, tunnels=network.record.encrypted)
        return NetworkState(
            network=network.record.model_copy(update={"ipam": network.pools}),
            revision=network.revision,
            nodes=nodes,
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
            await take_part(connection, network_id, node_id)
            await connection.execute(
                update(ParticipantRow)
                .where(this, ParticipantRow.applied_revision < revision)
                .values(applied_revision=revision)
            )


async def _lock_pools(connection: AsyncConnection) -> None:
    await connection.scalar(select(FleetRow.value).where(FleetRow.key == "ipam").with_for_update())


async def _free_vni(connection: AsyncConnection) -> int:
    highest = await connection.scalar(select(func.max(NetworkRow.vni)))
    return _FIRST_VNI if highest is None else highest + 1
