"""Volumes in the catalogue: their home nodes and who uses them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Row, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from flotilla_core.errors import ConflictError, NotFoundError
from flotilla_database import Database
from flotilla_engine.records import VolumeRecord
from flotilla_gateway.catalogue.tables import MountRow, VolumeRow


class Volumes:
    """The tables of volumes and mounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, volume: VolumeRecord) -> VolumeRecord:
        """Note a volume; one of that name that exists already is returned as it is."""
        try:
            async with self._database.transaction() as connection:
                await connection.execute(
                    insert(VolumeRow).values(
                        name=volume.name,
                        node_id=volume.node_id or None,
                        driver=volume.driver,
                        options=volume.options,
                        labels=volume.labels,
                        created_at=volume.created.timestamp(),
                        anonymous=volume.anonymous,
                        mountpoint=volume.mountpoint,
                    )
                )
        except IntegrityError:
            return await self.get(volume.name)
        return volume

    async def get(self, name: str) -> VolumeRecord:
        """Return the volume. Raises: NotFoundError, in dockerd's words."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_volumes().where(VolumeRow.name == name))).one_or_none()
        if row is None:
            raise NotFoundError(f"get {name}: no such volume")
        return _volume(row)

    async def all(self, names: Sequence[str] | None = None) -> list[VolumeRecord]:
        """Return all volumes, or those of these names that exist, by name."""
        query = _volumes().order_by(VolumeRow.name)
        if names is not None:
            query = query.where(VolumeRow.name.in_(names))
        async with self._database.reading() as connection:
            return [_volume(row) for row in await connection.execute(query)]

    async def bind(self, name: str, node_id: str, mountpoint: str = "") -> str:
        """Give an unbound volume its home; returns the home it has, now or already."""
        async with self._database.transaction() as connection:
            values = {"node_id": node_id} | ({"mountpoint": mountpoint} if mountpoint else {})
            await connection.execute(
                update(VolumeRow)
                .where(VolumeRow.name == name, VolumeRow.node_id.is_(None))
                .values(**values)
            )
            home = await connection.scalar(select(VolumeRow.node_id).where(VolumeRow.name == name))
        if home is None:
            raise NotFoundError(f"get {name}: no such volume")
        return str(home)

    async def move(self, name: str, node_id: str, mountpoint: str) -> None:
        """Give a volume another home."""
        async with self._database.transaction() as connection:
            await connection.execute(
                update(VolumeRow)
                .where(VolumeRow.name == name)
                .values(node_id=node_id, mountpoint=mountpoint)
            )

    async def note(self, volume: VolumeRecord) -> None:
        """Take over what a volume's home node says of it, or a volume that only the node knew."""
        known = await self.create(volume)
        if known.node_id in ("", volume.node_id) and known.mountpoint != volume.mountpoint:
            await self.move(volume.name, volume.node_id, volume.mountpoint)

    async def remove(self, name: str) -> None:
        """Forget a volume.

        Raises:
            ConflictError: If containers use it, in dockerd's words.
        """
        async with self._database.transaction() as connection:
            users = (
                await connection.scalars(
                    select(MountRow.container_id).where(MountRow.volume == name)
                )
            ).all()
            if users:
                raise ConflictError(f"remove {name}: volume is in use - [{', '.join(users)}]")
            await connection.execute(delete(VolumeRow).where(VolumeRow.name == name))

    async def forget(self, name: str, node_id: str) -> None:
        """Forget a volume that its home node removed."""
        async with self._database.transaction() as connection:
            await connection.execute(
                delete(VolumeRow).where(VolumeRow.name == name, VolumeRow.node_id == node_id)
            )

    async def users(self) -> dict[str, list[str]]:
        """Return the ids of the containers that use each volume."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(MountRow.volume, MountRow.container_id))).all()
        users: dict[str, list[str]] = {}
        for volume, container in rows:
            users.setdefault(volume, []).append(container)
        return users


def _volumes() -> Select[VolumeRow]:
    return select(*VolumeRow.__table__.columns)


def _volume(row: Row[VolumeRow]) -> VolumeRecord:
    return VolumeRecord(
        name=row.name,
        driver=row.driver,
        node_id=row.node_id or "",
        created=datetime.fromtimestamp(row.created_at, UTC),
        mountpoint=row.mountpoint,
        labels=row.labels,
        options=row.options,
        anonymous=row.anonymous,
    )
