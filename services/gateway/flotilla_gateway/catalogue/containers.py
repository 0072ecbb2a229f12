"""Containers in the catalogue: reserved names, the nodes' records by revision, look-ups."""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import Row, bindparam, delete, or_, select, update
from sqlalchemy.exc import IntegrityError

from flotilla_core.errors import ConflictError, InvalidArgumentError, NotFoundError
from flotilla_core.ids import short_id
from flotilla_database import Database
from flotilla_engine.records import ContainerChange, ContainerRecord
from flotilla_gateway.catalogue.container_rows import (
    DELETE,
    bump,
    bury,
    insert_container,
    networks_of,
    remove_row,
    replace_record,
)
from flotilla_gateway.catalogue.entries import Entry, NewContainer, Outcome
from flotilla_gateway.catalogue.known_records import KnownRecords
from flotilla_gateway.catalogue.tables import ContainerRow, TombstoneRow

_HEX = frozenset("0123456789abcdef")
_READ_AT_ONCE = 100  # decoding them takes a while: others want their turn
ABANDONED_S = 30.0

_ENTRIES = select(
    ContainerRow.id,
    ContainerRow.name,
    ContainerRow.node_id,
    ContainerRow.revision,
    ContainerRow.record,
)
_BY_ID_OR_NAME = _ENTRIES.where(
    or_(ContainerRow.id == bindparam("wanted"), ContainerRow.name == bindparam("named"))
)
_BY_PREFIX = _ENTRIES.where(
    ContainerRow.id >= bindparam("first"), ContainerRow.id < bindparam("last")
).limit(2)
_REVISIONS = (
    select(ContainerRow.id, ContainerRow.name, ContainerRow.node_id, ContainerRow.revision)
    .where(ContainerRow.record.is_not(None))
    .order_by(ContainerRow.created_at.desc(), ContainerRow.id)
)
_REVISIONS_OF = _REVISIONS.where(ContainerRow.node_id == bindparam("node"))
_STATE = (
    select(ContainerRow.revision, ContainerRow.running)
    .where(ContainerRow.id == bindparam("wanted"), ContainerRow.node_id == bindparam("node"))
    .with_for_update()
)


class Containers:
    """The table of containers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._records = KnownRecords()

    async def reserve(self, new: NewContainer) -> None:
        """Take id and name for a container that is about to be made.

        Raises:
            ConflictError: If another container has the name.
        """
        for last in (False, True):
            try:
                async with self._database.transaction() as connection:
                    await insert_container(connection, new)
            except IntegrityError as error:
                if not last and await self.sweep_abandoned():
                    continue
                await self._raise_if_taken(new.name)
                raise ConflictError(f"container {new.id} exists already") from error
            return

    async def attend(self, container_ids: Collection[str]) -> None:
        """Note that these containers are still being made."""
        if container_ids:
            async with self._database.transaction() as connection:
                await connection.execute(
                    update(ContainerRow)
                    .where(ContainerRow.id.in_(container_ids), ContainerRow.record.is_(None))
                    .values(attended_at=time.time())
                )

    async def sweep_abandoned(self) -> int:
        """Forget creates that nobody attends to: their gateway is gone; returns how many."""
        abandoned = select(ContainerRow.id).where(
            ContainerRow.record.is_(None), ContainerRow.attended_at < time.time() - ABANDONED_S
        )
        async with self._database.reading() as connection:
            found = (await connection.scalars(abandoned)).all()
        for container_id in found:
            await self.discard(container_id)
        return len(found)

    async def discard(self, container_id: str) -> None:
        """Forget a container that was reserved and could not be made."""
        async with self._database.transaction() as connection:
            gone = await connection.execute(
                delete(ContainerRow).where(
                    ContainerRow.id == container_id, ContainerRow.record.is_(None)
                )
            )
            if gone.rowcount:
                await bury(connection, container_id)

    async def apply(
        self, node_id: str, change: ContainerChange, *, by_cache: bool = True
    ) -> Outcome:
        """Take over a node's newest word on a container, unless it is older than what is known.

        Args:
            node_id: The node.
            change: Its word.
            by_cache: Whether what this process knows may answer without a look at the tables.
        """
        known_here = self._records.revision(change.id) if by_cache else -1
        if change.record is not None and change.revision <= known_here:
            return Outcome(changed=False)
        async with self._database.transaction() as connection:
            known = (
                await connection.execute(_STATE, {"wanted": change.id, "node": node_id})
            ).one_or_none()
            if known is None:
                return Outcome(changed=False, unknown=True)
            if change.record is None:
                outcome = await remove_row(connection, change.id, running=known.running)
            elif 0 < change.revision <= known.revision:
                return Outcome(changed=False)
            else:
                outcome = await replace_record(connection, change, change.record, known)
        if change.record is None:
            self._records.forget(change.id)
        else:
            self._records.keep(change.id, change.revision, change.record)
        return outcome

    async def adopt(self, node_id: str, change: ContainerChange) -> bool:
        """Take in a container that a node has and the catalogue never heard of.

        Returns:
            False if the catalogue knows that the container is gone, or cannot take it in.
        """
        record = change.record
        if record is None:
            return False
        async with self._database.reading() as connection:
            buried = await connection.scalar(
                select(TombstoneRow.container_id).where(TombstoneRow.container_id == change.id)
            )
        if buried is not None:
            return False
        new = NewContainer(
            id=record.id,
            name=record.name,
            node_id=node_id,
            created_at=record.created.timestamp(),
            image_id=record.image_id,
            image=record.image,
            labels=record.config.labels,
            volumes={mount.name for mount in record.mounts if mount.type == "volume"},
        )
        for name in (
            record.name,
            f"{record.name}-{short_id(record.id)}",
            f"{record.name}-{record.id}",
        ):
            try:
                await self.reserve(replace(new, name=name))
            except ConflictError:
                continue
            await self.apply(node_id, change, by_cache=False)
            return True
        return False

    async def strays(self, node_id: str, container_ids: Sequence[str]) -> set[str]:
        """Return those of the containers that are gone for good, or another node's."""
        found: set[str] = set()
        async with self._database.reading() as connection:
            for start in range(0, len(container_ids), _READ_AT_ONCE):
                part = container_ids[start : start + _READ_AT_ONCE]
                buried = select(TombstoneRow.container_id).where(
                    TombstoneRow.container_id.in_(part)
                )
                elsewhere = select(ContainerRow.id).where(
                    ContainerRow.id.in_(part), ContainerRow.node_id != node_id
                )
                for query in (buried, elsewhere):
                    found.update(await connection.scalars(query))
        return found

    async def not_buried(self, container_ids: Collection[str], since: float) -> list[str]:
        """Return those of the containers that were not removed since then (epoch seconds)."""
        query = select(TombstoneRow.container_id).where(
            TombstoneRow.container_id.in_(container_ids), TombstoneRow.removed_at >= since
        )
        async with self._database.reading() as connection:
            buried = set(await connection.scalars(query))
        return [one for one in container_ids if one not in buried]

    async def find(self, reference: str) -> Entry:
        """Return the container of that id, name or unique id prefix.

        Raises:
            NotFoundError: If there is none.
            InvalidArgumentError: If the prefix fits several.
        """
        names = {"wanted": reference, "named": reference.removeprefix("/")}
        rows = await self._database.look_up(_BY_ID_OR_NAME, names)
        if not rows and _is_prefix(reference):
            rows = await self._beginning_with(reference)
            if len(rows) > 1:
                raise InvalidArgumentError(f"Multiple IDs found with provided prefix: {reference}")
        if not rows:
            raise NotFoundError(f"No such container: {reference}")
        return self._entry(next((row for row in rows if row.id == reference), rows[0]))

    async def beginning_with(self, prefix: str) -> Entry | None:
        """Return the container whose id begins so, if there is just one."""
        rows = await self._beginning_with(prefix) if _is_prefix(prefix) else ()
        return self._entry(rows[0]) if len(rows) == 1 else None

    async def _beginning_with(self, prefix: str) -> Sequence[Row[str, str, str, int, str | None]]:
        return await self._database.look_up(_BY_PREFIX, {"first": prefix, "last": prefix + "g"})

    async def all(self, node_id: str | None = None) -> list[Entry]:
        """Return the containers of the fleet or of one node, newest first.

        Those that are still being made are left out.
        """
        if node_id is None:
            known = await self._database.look_up(_REVISIONS)
        else:
            known = await self._database.look_up(_REVISIONS_OF, {"node": node_id})
        entries: dict[str, Entry] = {}
        for row in known:
            record = self._records.get(row.id, row.revision)
            if record is not None:
                entries[row.id] = Entry(row.id, row.name, row.node_id, row.revision, record)
        if stale := [row.id for row in known if row.id not in entries]:
            await self._read(stale, entries)
        return [entries[row.id] for row in known if row.id in entries]

    async def _read(self, container_ids: Sequence[str], entries: dict[str, Entry]) -> None:
        """Read these containers' newest records."""
        async with self._database.reading() as connection:
            for start in range(0, len(container_ids), _READ_AT_ONCE):
                part = ContainerRow.id.in_(container_ids[start : start + _READ_AT_ONCE])
                for row in (await connection.execute(_ENTRIES.where(part))).all():
                    entries[row.id] = self._entry(row)

    async def sweep_buried(self, before: float) -> None:
        """Forget tombstones from before a time (epoch seconds)."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(TombstoneRow).where(TombstoneRow.removed_at < before))

    async def revisions(self, node_id: str) -> dict[str, int]:
        """Return the revision of each container of a node; 0 while it is being made."""
        query = select(ContainerRow.id, ContainerRow.revision)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.where(ContainerRow.node_id == node_id))).all()
        return {row.id: row.revision for row in rows}

    async def made(self, node_id: str, before: float) -> dict[str, float]:
        """Return when a node's containers were made, those before a time (epoch seconds)."""
        query = select(ContainerRow.id, ContainerRow.created_at).where(
            ContainerRow.node_id == node_id,
            ContainerRow.record.is_not(None),
            ContainerRow.created_at < before,
        )
        async with self._database.reading() as connection:
            return {row.id: row.created_at for row in await connection.execute(query)}

    async def rename(self, container_id: str, name: str) -> None:
        """Give the container another name.

        Raises:
            ConflictError: If another container has it.
        """
        try:
            async with self._database.transaction() as connection:
                await connection.execute(
                    update(ContainerRow).where(ContainerRow.id == container_id).values(name=name)
                )
                await bump(connection, await networks_of(connection, container_id))
        except IntegrityError as error:
            await self._raise_if_taken(name)
            raise ConflictError(f'The container name "/{name}" is already in use') from error

    async def remove(self, container_id: str) -> Sequence[str]:
        """Forget a container with its endpoints; returns its user networks."""
        async with self._database.transaction() as connection:
            networks = await networks_of(connection, container_id)
            gone = await connection.execute(DELETE, {"wanted": container_id})
            if gone.rowcount:
                await bury(connection, container_id)
                await bump(connection, networks)
        self._records.forget(container_id)
        return networks

    def _entry(self, row: Row[str, str, str, int, str | None]) -> Entry:
        record = None
        if row.record is not None:
            record = self._records.get(row.id, row.revision)
            if record is None:
                record = ContainerRecord.model_validate_json(row.record)
                self._records.keep(row.id, row.revision, record)
        return Entry(row.id, row.name, row.node_id, row.revision, record)

    async def _raise_if_taken(self, name: str) -> None:
        async with self._database.reading() as connection:
            holder = await connection.scalar(
                select(ContainerRow.id).where(ContainerRow.name == name)
            )
        if holder is not None:
            raise ConflictError(
                f'Conflict. The container name "/{name}" is already in use by container '
                f'"{holder}". You have to remove (or rename) that container to be able to '
                "reuse that name."
            )


def _is_prefix(reference: str) -> bool:
    return 0 < len(reference) < 64 and _HEX.issuperset(reference)
