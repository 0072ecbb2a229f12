"""Images, names, blob references and leases in the database: all statements of this service."""

import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from flotilla_core.errors import NotFoundError
from flotilla_database import Database
from flotilla_engine.records import ImageRecord
from flotilla_image_store.blobs import Blob
from flotilla_image_store.library import Library, StoredImage, lookup_name, no_such_image, whole_id
from flotilla_image_store.tables import (
    ImageBlobRow,
    ImageRow,
    LayerBlobRow,
    LeaseRow,
    LockRow,
    ReferenceRow,
)
from flotilla_oci import references
from flotilla_oci.references import Reference

_LEASE_S = 3600.0
_LOCK = "blobs"
_IMAGE = (
    ImageRow.id,
    ImageRow.record,
    ImageRow.manifest_digest,
    ImageRow.manifest_media_type,
    ImageRow.last_tagged,
)


class Reading:
    """Questions to the database, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        """Ask by this connection."""
        self._connection = connection

    async def library(self) -> Library:
        """Return all images."""
        rows = await self._connection.execute(select(*_IMAGE))
        images = {row.id: _image(row) for row in rows}
        names = await self._connection.execute(
            select(ReferenceRow.reference, ReferenceRow.image_id).order_by(ReferenceRow.reference)
        )
        for name in names:
            if name.image_id in images:
                images[name.image_id].references.append(references.parse(name.reference))
        return Library(images)

    async def resolve(self, text: str) -> StoredImage:
        """Find an image by name, id or the unique beginning of an id.

        Raises:
            InvalidArgumentError: If it is no reference.
            NotFoundError: If there is no such image.
        """
        image_id = whole_id(text)
        if image_id:
            found = await self.image(image_id)
        else:
            name = str(lookup_name(references.parse(text)))
            found = await self._named(name) or await self._by_prefix(text)
        if found is None:
            raise no_such_image(text)
        return found

    async def image(self, image_id: str) -> StoredImage | None:
        """Return the image of that id."""
        rows = await self._connection.execute(select(*_IMAGE).where(ImageRow.id == image_id))
        return await self._with_names(rows.first())

    async def _named(self, name: str) -> StoredImage | None:
        rows = await self._connection.execute(
            select(*_IMAGE)
            .join(ReferenceRow, ReferenceRow.image_id == ImageRow.id)
            .where(ReferenceRow.reference == name)
        )
        return await self._with_names(rows.first())

    async def _by_prefix(self, text: str) -> StoredImage | None:
        if not references.is_identifier(text):
            return None
        prefix = "sha256:" + text.removeprefix("sha256:")
        rows = await self._connection.execute(
            select(*_IMAGE).where(ImageRow.id.startswith(prefix)).limit(2)
        )
        found = rows.all()
        return await self._with_names(found[0]) if len(found) == 1 else None

    async def _with_names(self, row: Row[str, str, str, str, float] | None) -> StoredImage | None:
        if row is None:
            return None
        names = await self._connection.execute(
            select(ReferenceRow.reference)
            .where(ReferenceRow.image_id == row.id)
            .order_by(ReferenceRow.reference)
        )
        image = _image(row)
        image.references = [references.parse(name.reference) for name in names]
        return image

    async def layers(self, digests: Collection[str]) -> dict[str, LayerBlobRow]:
        """Return what is known of these layers' blobs, by digest."""
        rows = await self._connection.execute(
            select(
                LayerBlobRow.digest,
                LayerBlobRow.diff_id,
                LayerBlobRow.size_bytes,
                LayerBlobRow.tar_bytes,
                LayerBlobRow.diff_bytes,
            ).where(LayerBlobRow.digest.in_(digests))
        )
        return {row.digest: LayerBlobRow(**row._asdict()) for row in rows}

    async def blobs_of_diff(self, diff_id: str) -> list[tuple[str, int]]:
        """Return digest and size of each blob that unpacks to this layer."""
        rows = await self._connection.execute(
            select(LayerBlobRow.digest, LayerBlobRow.size_bytes)
            .where(LayerBlobRow.diff_id == diff_id)
            .order_by(LayerBlobRow.digest)
        )
        return [(row.digest, row.size_bytes) for row in rows]

    async def media_type(self, digest: str) -> str:
        """Return the media type under which an image holds a blob.

        Raises:
            NotFoundError: If no image does.
        """
        rows = await self._connection.execute(
            select(ImageBlobRow.media_type).where(ImageBlobRow.digest == digest).limit(1)
        )
        row = rows.first()
        if row is None:
            raise NotFoundError(f"manifest unknown: {digest}")
        return str(row.media_type)

    async def repositories(self) -> list[str]:
        """Return the names of all repositories that have a tag."""
        rows = await self._connection.execute(
            select(ReferenceRow.repository)
            .where(ReferenceRow.is_digest.is_(False))
            .distinct()
            .order_by(ReferenceRow.repository)
        )
        return [row.repository for row in rows]

    async def tags(self, repository: str) -> list[Reference]:
        """Return a repository's tags."""
        rows = await self._connection.execute(
            select(ReferenceRow.reference)
            .where(ReferenceRow.repository == repository, ReferenceRow.is_digest.is_(False))
            .order_by(ReferenceRow.reference)
        )
        return [references.parse(row.reference) for row in rows]

    async def unreferenced(self, digests: Iterable[str]) -> list[str]:
        """Return those blobs that neither an image nor a lease holds."""
        wanted = sorted(set(digests))
        held: set[str] = set()
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            rows = await self._connection.execute(
                select(ImageBlobRow.digest).where(ImageBlobRow.digest.in_(part))
            )
            held.update(row.digest for row in rows)
            leases = await self._connection.execute(
                select(LeaseRow.digest).where(
                    LeaseRow.digest.in_(part), LeaseRow.until > time.time()
                )
            )
            held.update(row.digest for row in leases)
        return [digest for digest in wanted if digest not in held]


class Change(Reading):
    """Questions and changes, within one transaction that has the lock on blobs."""

    async def put_image(self, image: StoredImage) -> None:
        """Add the image, or renew what is known of it; names are kept."""
        record = image.record.model_copy(update={"repo_tags": [], "repo_digests": []})
        values = {
            "record": record.model_dump_json(by_alias=True),
            "parent": image.record.parent,
            "manifest_digest": image.manifest_digest,
            "manifest_media_type": image.manifest_media_type,
        }
        changed = await self._connection.execute(
            update(ImageRow).where(ImageRow.id == image.id).values(values)
        )
        if not changed.rowcount:
            await self._connection.execute(insert(ImageRow).values(id=image.id, **values))

    async def hold(self, image_id: str, blobs: Iterable[tuple[str, str]]) -> None:
        """Let the image hold blobs, given as digest and media type; their leases end."""
        for digest, media_type in dict(blobs).items():
            await self._connection.execute(
                delete(ImageBlobRow).where(
                    ImageBlobRow.image_id == image_id, ImageBlobRow.digest == digest
                )
            )
            await self._connection.execute(
                insert(ImageBlobRow).values(image_id=image_id, digest=digest, media_type=media_type)
            )
            await self.end_lease(digest)

    async def point(self, reference: Reference, image_id: str) -> str:
        """Point a name at an image; returns the image that had it before, or nothing."""
        rows = await self._connection.execute(
            select(ReferenceRow.image_id).where(ReferenceRow.reference == str(reference))
        )
        before = rows.scalar()
        if before != image_id:
            await self.unpoint(reference)
            await self._connection.execute(
                insert(ReferenceRow).values(
                    reference=str(reference),
                    repository=reference.name,
                    image_id=image_id,
                    is_digest=bool(reference.digest),
                )
            )
        if not reference.digest:
            await self._connection.execute(
                update(ImageRow).where(ImageRow.id == image_id).values(last_tagged=time.time())
            )
        return before or ""

    async def unpoint(self, reference: Reference) -> None:
        """Forget a name."""
        await self._connection.execute(
            delete(ReferenceRow).where(ReferenceRow.reference == str(reference))
        )

    async def delete_image(self, image_id: str) -> list[str]:
        """Forget an image with its names; returns the blobs that it held."""
        rows = await self._connection.execute(
            select(ImageBlobRow.digest).where(ImageBlobRow.image_id == image_id)
        )
        held = [row.digest for row in rows]
        await self._connection.execute(
            delete(ReferenceRow).where(ReferenceRow.image_id == image_id)
        )
        await self._connection.execute(
            delete(ImageBlobRow).where(ImageBlobRow.image_id == image_id)
        )
        await self._connection.execute(delete(ImageRow).where(ImageRow.id == image_id))
        return held

    async def learn(self, blob: Blob) -> None:
        """Lease a blob that has just come, and note what it unpacks to."""
        await self.lease([blob.digest])
        if blob.layer is None or await self.layers([blob.digest]):
            return
        await self._connection.execute(
            insert(LayerBlobRow).values(
                digest=blob.digest,
                diff_id=blob.layer.diff_id,
                size_bytes=blob.size_bytes,
                tar_bytes=blob.layer.tar_bytes,
                diff_bytes=blob.layer.diff_bytes,
            )
        )

    async def lease(self, digests: Iterable[str]) -> None:
        """Keep blobs for a while, though no image holds them yet."""
        until = time.time() + _LEASE_S
        for digest in digests:
            await self.end_lease(digest)
            await self._connection.execute(insert(LeaseRow).values(digest=digest, until=until))

    async def end_lease(self, digest: str) -> None:
        """Let a blob go, if no image holds it."""
        await self._connection.execute(delete(LeaseRow).where(LeaseRow.digest == digest))

    async def forget_layer(self, digest: str) -> None:
        """Forget what a blob that is gone unpacked to."""
        await self._connection.execute(delete(LayerBlobRow).where(LayerBlobRow.digest == digest))


class ImageDatabase:
    """The database of the image store."""

    def __init__(self, database: Database) -> None:
        """Use this database; its tables are there."""
        self._database = database

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reading]:
        """Ask questions that all see the same moment."""
        async with self._database.reading() as connection:
            yield Reading(connection)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Change]:
        """Change something; who deletes blobs and who takes them into use wait for each other."""
        async with self._database.transaction() as connection:
            await connection.execute(update(LockRow).where(LockRow.name == _LOCK).values(holder=""))
            yield Change(connection)


def _image(row: Row[str, str, str, str, float]) -> StoredImage:
    record = ImageRecord.model_validate_json(row.record)
    if row.last_tagged:
        record.last_tagged = datetime.fromtimestamp(row.last_tagged, UTC)
    return StoredImage(record, row.manifest_digest, row.manifest_media_type)
