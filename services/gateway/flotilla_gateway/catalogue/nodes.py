"""Nodes in the catalogue: who has joined, what they said of themselves, when last seen."""

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Integer, Row, Select, cast, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from flotilla_core.errors import InvalidArgumentError, NotFoundError, UnauthenticatedError
from flotilla_core.ids import short_id
from flotilla_database import Database
from flotilla_engine.records import NodeInfo
from flotilla_gateway.catalogue.tables import (
    ContainerRow,
    FleetRow,
    JoinTokenRow,
    NodeRow,
    ParticipantRow,
    PortRow,
    VolumeRow,
)


@dataclass(frozen=True)
class KnownNode:
    """A node as the catalogue has it; `last_seen` is epoch seconds."""

    info: NodeInfo
    drained: bool
    last_seen: float

    @property
    def id(self) -> str:
        """The node's id."""
        return self.info.node.id

    @property
    def name(self) -> str:
        """The node's name, unique in the fleet."""
        return self.info.node.name


@dataclass(frozen=True)
class Load:
    """What the containers of a node take, by the catalogue."""

    containers: int = 0
    running: int = 0
    memory_bytes: int = 0
    nano_cpus: int = 0


class Nodes:
    """The table of nodes, and the join tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._parsed: dict[str, tuple[Sequence[object], KnownNode]] = {}

    async def join(self, info: NodeInfo) -> KnownNode:
        """Take in a node, or its newest word on itself; its name is made unique.

        Labels that were given to the node by `flotilla node update` stay.
        """
        now = time.time()
        async with self._database.transaction() as connection:
            known = (
                await connection.execute(select(NodeRow).where(NodeRow.id == info.node.id))
            ).one_or_none()
            name = await _free_name(connection, info)
            values = {
                "name": name,
                "addr": info.node.address,
                "info": info.model_dump_json(),
                "last_seen": now,
            }
            if known is None:
                new = insert(NodeRow).values(
                    id=info.node.id, labels={}, drained=False, joined_at=now, **values
                )
                await connection.execute(new)
            else:
                await connection.execute(
                    update(NodeRow).where(NodeRow.id == info.node.id).values(**values)
                )
            row = (await connection.execute(_nodes().where(NodeRow.id == info.node.id))).one()
        return _known(row)

    async def seen(self, node_id: str) -> None:
        """Note a sign of life."""
        async with self._database.transaction() as connection:
            await connection.execute(
                update(NodeRow).where(NodeRow.id == node_id).values(last_seen=time.time())
            )

    async def all(self) -> list[KnownNode]:
        """Return all nodes by name."""
        found = []
        for row in await self._database.look_up(_ALL):
            known = self._parsed.get(row.id)
            if known is None or known[0] != row[:-1]:
                known = self._parsed[row.id] = (row[:-1], _known(row))
            found.append(replace(known[1], last_seen=row.last_seen))
        return found

    async def find(self, reference: str) -> KnownNode:
        """Return the node of that id, name or unique id prefix.

        Raises:
            NotFoundError: If there is none.
            InvalidArgumentError: If the prefix fits several.
        """
        matches = or_(NodeRow.name == reference, NodeRow.id.startswith(reference, autoescape=True))
        async with self._database.reading() as connection:
            found = [_known(row) for row in await connection.execute(_nodes().where(matches))]
        exact = [node for node in found if reference in (node.id, node.name)]
        if exact:
            return exact[0]
        if not found or not reference:
            raise NotFoundError(f"node {reference} not found")
        if len(found) > 1:
            raise InvalidArgumentError(
                f"node {reference} is ambiguous ({len(found)} matches found)"
            )
        return found[0]

    async def change(
        self, node_id: str, *, labels: dict[str, str] | None, drained: bool | None
    ) -> None:
        """Set what operators say of a node; None leaves it."""
        values: dict[str, object] = {}
        if labels is not None:
            values["labels"] = labels
        if drained is not None:
            values["drained"] = drained
        if values:
            async with self._database.transaction() as connection:
                await connection.execute(
                    update(NodeRow).where(NodeRow.id == node_id).values(**values)
                )

    async def remove(self, node_id: str) -> None:
        """Forget a node with its containers and volumes."""
        async with self._database.transaction() as connection:
            for statement in (
                delete(ContainerRow).where(ContainerRow.node_id == node_id),
                delete(VolumeRow).where(VolumeRow.node_id == node_id),
                delete(ParticipantRow).where(ParticipantRow.node_id == node_id),
                delete(NodeRow).where(NodeRow.id == node_id),
            ):
                await connection.execute(statement)

    async def loads(self) -> dict[str, Load]:
        """Return what the containers of each node take."""
        rows = await self._database.look_up(_LOADS)
        return {
            node: Load(count, int(running or 0), int(memory or 0), int(cpus or 0))
            for node, count, running, memory, cpus in rows
        }

    async def port_claims(self, ports: list[int]) -> list[tuple[str, str, int, str, bool]]:
        """Return (node, protocol, port, address, running) of containers that claim these ports."""
        query = (
            select(
                ContainerRow.node_id,
                PortRow.protocol,
                PortRow.port,
                PortRow.address,
                ContainerRow.running,
            )
            .join(PortRow, PortRow.container_id == ContainerRow.id)
            .where(PortRow.port.in_(ports))
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [(node, protocol, port, address, up) for node, protocol, port, address, up in rows]

    async def fleet_id(self) -> str:
        """Return the fleet's id, 64 hex digits, made with the tables."""
        async with self._database.reading() as connection:
            known = await connection.scalar(select(FleetRow.value).where(FleetRow.key == "id"))
        return str(known)

    async def new_token(self, lifetime_s: float | None = None) -> str:
        """Make a join token; only its hash is kept."""
        identifier, secret = secrets.token_hex(4), secrets.token_urlsafe(24)
        now = time.time()
        async with self._database.transaction() as connection:
            await connection.execute(
                insert(JoinTokenRow).values(
                    id=identifier,
                    secret_hash=_hash(secret),
                    created_at=now,
                    expires_at=None if lifetime_s is None else now + lifetime_s,
                )
            )
        return f"FLTJN-{identifier}-{secret}"

    async def check_token(self, token: str) -> None:
        """Raise UnauthenticatedError unless the token was made here and still holds."""
        _, _, rest = token.partition("-")
        identifier, _, secret = rest.partition("-")
        query = select(JoinTokenRow.secret_hash, JoinTokenRow.expires_at).where(
            JoinTokenRow.id == identifier
        )
        async with self._database.reading() as connection:
            known = (await connection.execute(query)).one_or_none()
        if (
            known is None
            or not secrets.compare_digest(known.secret_hash, _hash(secret))
            or (known.expires_at is not None and known.expires_at < time.time())
        ):
            raise UnauthenticatedError("invalid or expired join token")


_LOADS = select(
    ContainerRow.node_id,
    func.count(),
    func.sum(cast(ContainerRow.running, Integer)),
    func.sum(ContainerRow.memory_bytes),
    func.sum(ContainerRow.nano_cpus),
).group_by(ContainerRow.node_id)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _nodes() -> Select[str, str, dict[str, str], str, bool, float]:
    return select(
        NodeRow.id, NodeRow.name, NodeRow.labels, NodeRow.info, NodeRow.drained, NodeRow.last_seen
    ).order_by(NodeRow.name)


_ALL = _nodes()


def _known(row: Row[str, str, dict[str, str], str, bool, float]) -> KnownNode:
    info = NodeInfo.model_validate_json(row.info)
    info.node.name = row.name
    info.node.labels = info.node.labels | row.labels
    return KnownNode(info, row.drained, row.last_seen)


async def _free_name(connection: AsyncConnection, info: NodeInfo) -> str:
    query = select(NodeRow.id).where(NodeRow.name == info.node.name, NodeRow.id != info.node.id)
    if await connection.scalar(query) is None:
        return info.node.name
    return f"{info.node.name}-{short_id(info.node.id)[:5]}"
