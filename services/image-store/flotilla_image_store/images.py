"""What the image store does with images: find, list, name, make and remove them."""

import asyncio
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from flotilla_bus.contracts.images import (
    ContainerUse,
    HistoryEntry,
    ListedImage,
    ListRequest,
    RemoveAnswer,
)
from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_engine.filters import Filters
from flotilla_engine.records import ImageRecord
from flotilla_image_store.blobs import Blob, BlobFolder
from flotilla_image_store.events import Events, image_event
from flotilla_image_store.library import StoredImage, check_platform
from flotilla_image_store.listing import history, listed
from flotilla_image_store.making import make, read_config
from flotilla_image_store.removal import Removal, reclaimed_bytes
from flotilla_image_store.store import Change, ImageDatabase
from flotilla_oci import digests, manifests, references
from flotilla_oci.manifests import Descriptor, Manifest
from flotilla_oci.references import Reference

_log = logging.getLogger(__name__)

_PLAIN_LAYERS = {
    manifests.DOCKER_LAYER: manifests.DOCKER_LAYER_GZIP,
    manifests.OCI_LAYER: manifests.OCI_LAYER_GZIP,
}
_GZIP = 31


@dataclass(frozen=True)
class Put:
    """An image that was stored; `replaced` are the names that were taken from others' ids."""

    image: StoredImage
    changed: bool
    replaced: dict[str, str]


class Images:
    """The images of the fleet."""

    def __init__(self, database: ImageDatabase, blobs: BlobFolder, events: Events) -> None:
        """Keep images in the database and the blobs in the folder."""
        self.database = database
        self.blobs = blobs
        self.events = events

    async def resolve(self, text: str, platform: str = "") -> StoredImage:
        """Find an image by name or id.

        Raises:
            InvalidArgumentError: If it is no reference.
            NotFoundError: If there is no such image, or not for that platform.
        """
        async with self.database.reading() as reading:
            image = await reading.resolve(text)
        if platform:
            check_platform(image.record, text, platform)
        return image

    async def list(self, request: ListRequest) -> Sequence[ListedImage]:
        """List images as `docker images` does."""
        async with self.database.reading() as reading:
            library = await reading.library()
        return listed(library, request)

    async def history(self, text: str, platform: str = "") -> Sequence[HistoryEntry]:
        """Tell how an image came about."""
        async with self.database.reading() as reading:
            library = await reading.library()
        image = library.resolve(text, platform)
        manifest = await self.manifest(image)
        config = await asyncio.to_thread(read_config, self.blobs, manifest)
        return history(library, image, config)

    async def usage(self) -> int:
        """Return the unpacked size of all layers."""
        async with self.database.reading() as reading:
            library = await reading.library()
        return sum(library.layer_sizes().values())

    async def tag(self, source: str, target: str) -> None:
        """Give an image one more name.

        Raises:
            InvalidArgumentError: If the name is none.
            NotFoundError: If there is no such image.
        """
        reference = references.parse(target)
        if reference.digest:
            raise InvalidArgumentError("refusing to create a tag with a digest reference")
        reference = reference.with_default_tag()
        if reference.familiar_name == "sha256":
            raise InvalidArgumentError(
                "refusing to create an ambiguous tag using digest algorithm as name"
            )
        async with self.database.changing() as change:
            image = await change.resolve(source)
            await change.point(reference, image.id)
        await self.tell("tag", image, reference.familiar)

    async def remove(
        self, text: str, *, force: bool, prune_parents: bool, in_use: Sequence[ContainerUse]
    ) -> RemoveAnswer:
        """Untag or delete an image.

        Raises:
            FlotillaError: With dockerd's texts, if it is unknown or in use.
        """
        async with self.database.changing() as change:
            removal = Removal(await change.library(), list(in_use))
            removal.remove(text, force=force, prune_parents=prune_parents)
            held = await self._carry_out(change, removal)
        await self.collect(held)
        await self._tell_removal(removal)
        return RemoveAnswer(deleted=removal.lines)

    async def prune(
        self, filters: dict[str, Sequence[str]], in_use: Sequence[ContainerUse]
    ) -> RemoveAnswer:
        """Remove images that are not used."""
        async with self.database.changing() as change:
            library = await change.library()
            sizes = library.layer_sizes()
            removal = Removal(library, list(in_use))
            removal.prune(Filters(filters))
            held = await self._carry_out(change, removal)
        await self.collect(held)
        await self._tell_removal(removal)
        reclaimed = reclaimed_bytes(removal.lines, sizes)
        prune_event = image_event("prune", "", "")
        prune_event.actor.attributes = {"reclaimed": str(reclaimed)}
        self.events.publish(prune_event)
        return RemoveAnswer(deleted=removal.lines, space_reclaimed_bytes=reclaimed)

    async def put(
        self,
        manifest: bytes,
        media_type: str,
        names: Iterable[Reference],
        *,
        parent: str = "",
        also_held: Iterable[tuple[str, str]] = (),
    ) -> Put:
        """Make an image of blobs that are here, and point names at it.

        Args:
            manifest: The manifest's bytes.
            media_type: What the transport called it.
            names: Tags and digests, in normal form.
            parent: The image that this one was made from.
            also_held: More blobs that belong to it, such as the index it was picked from.

        Raises:
            FlotillaError: If something does not fit together, or a blob is missing.
        """
        arrived = await asyncio.to_thread(self.blobs.put, manifest)
        try:
            try:
                return await self._put(manifest, media_type, names, parent, also_held)
            finally:
                self.blobs.settle([arrived.digest])
        except FlotillaError:
            await self.drop([arrived.digest])
            raise

    async def _put(
        self,
        manifest: bytes,
        media_type: str,
        names: Iterable[Reference],
        parent: str,
        also_held: Iterable[tuple[str, str]],
    ) -> Put:
        parsed = manifests.parse(manifest, media_type)
        layers = [layer.digest for layer in parsed.layers] if isinstance(parsed, Manifest) else []
        async with self.database.changing() as change:
            known = await change.layers(layers)
            made = await asyncio.to_thread(
                make, self.blobs, manifest, media_type, known, parent=parent
            )
            before = await change.image(made.image.id)
            if before is not None and not parent:
                made.image.record.parent = before.record.parent
            changed = before is None
            replaced: dict[str, str] = {}
            await change.put_image(made.image)
            await change.hold(made.image.id, [*made.blobs, *also_held])
            for name in names:
                had = await change.point(name, made.image.id)
                changed = changed or had != made.image.id
                if had and had != made.image.id:
                    replaced[str(name)] = had
            stored = await change.image(made.image.id)
        return Put(stored or made.image, changed, replaced)

    async def learn(self, blob: Blob) -> None:
        """Take a blob that has come into account; it is leased."""
        try:
            async with self.database.changing() as change:
                await change.learn(blob)
        finally:
            self.blobs.settle([blob.digest])

    async def missing(self, wanted: Sequence[str]) -> Sequence[str]:
        """Return the blobs that are not here, and lease the others."""
        for digest in wanted:
            digests.validated(digest)
        async with self.database.changing() as change:
            missing = [digest for digest in wanted if not self.blobs.has(digest)]
            await change.lease(digest for digest in wanted if digest not in missing)
        return missing

    async def drop(self, blobs: Sequence[str]) -> None:
        """Let blobs go that were leased and turned out to be of no use."""
        async with self.database.changing() as change:
            for digest in blobs:
                await change.end_lease(digest)
        await self.collect(blobs)

    async def collect(self, candidates: Iterable[str]) -> Sequence[str]:
        """Delete those blobs that nothing holds.

        What made them superfluous is stored before: a crash in between leaves blobs too many,
        never one too few.
        """
        async with self.database.changing() as change:
            gone = await change.unreferenced(candidates)
            for digest in gone:
                await change.forget_layer(digest)
            await asyncio.to_thread(self._delete, gone)
        return gone

    def _delete(self, gone: Iterable[str]) -> None:
        for digest in gone:
            self.blobs.delete(digest)

    async def sweep(self, older_than: float) -> int:
        """Delete blobs that nothing holds and that were written before; returns how many."""
        await asyncio.to_thread(self.blobs.drop_abandoned)
        return len(await self.collect(await asyncio.to_thread(self._older, older_than)))

    def _older(self, than: float) -> Sequence[str]:
        return [digest for digest, written in self.blobs.all() if written < than]

    async def pushable(self, text: str) -> tuple[StoredImage, bytes]:
        """Return an image and the manifest to push: the one that it came with, layers compressed.

        Raises:
            NotFoundError: If there is no such image.
        """
        image = await self.resolve(text)
        manifest = await self.manifest(image)
        raw = await asyncio.to_thread(self.blobs.read, image.manifest_digest)
        if not any(layer.media_type in _PLAIN_LAYERS for layer in manifest.layers):
            return image, raw
        layers = [await self._compressed(layer) for layer in manifest.layers]
        raw = replace(manifest, layers=tuple(layers)).to_bytes()
        put = await self.put(raw, manifest.media_type, [])
        return put.image, raw

    async def manifest(self, image: StoredImage) -> Manifest:
        """Return the manifest that an image came with."""
        raw = await asyncio.to_thread(self.blobs.read, image.manifest_digest)
        parsed = manifests.parse(raw, image.manifest_media_type)
        assert isinstance(parsed, Manifest)
        return parsed

    async def tell(self, action: str, image: StoredImage, name: str, subject: str = "") -> None:
        """Publish an event about an image."""
        labels = image.record.config.labels
        self.events.publish(image_event(action, subject or image.id, name, labels))

    async def _compressed(self, layer: Descriptor) -> Descriptor:
        """Return the layer compressed with gzip, from an earlier push or made now."""
        if layer.media_type not in _PLAIN_LAYERS:
            return layer
        media_type = _PLAIN_LAYERS[layer.media_type]
        async with self.database.changing() as change:
            known = (await change.layers([layer.digest]))[layer.digest]
            for digest, size in await change.blobs_of_diff(known.diff_id):
                if digest != layer.digest and self.blobs.has(digest):
                    await change.lease([digest])
                    return Descriptor(media_type, digest, size)
        blob = await asyncio.to_thread(self._compress, layer.digest)
        await self.learn(blob)
        return Descriptor(media_type, blob.digest, blob.size_bytes)

    def _compress(self, digest: str) -> Blob:
        ingest = self.blobs.ingest()
        try:
            for chunk in _gzipped(self.blobs.chunks(digest)):
                ingest.write(chunk)
            return ingest.finish()
        except BaseException:
            ingest.abort()
            raise

    async def _carry_out(self, change: Change, removal: Removal) -> set[str]:
        """Store a removal; returns the blobs that the deleted images held."""
        held: set[str] = set()
        for line in removal.lines:
            if line.untagged:
                await change.unpoint(references.parse(line.untagged))
        for image in removal.deleted:
            held.update(await change.delete_image(image.id))
        return held

    async def _tell_removal(self, removal: Removal) -> None:
        labels = {image.id: image.record.config.labels for image in removal.deleted}
        for image_id, _ in removal.untagged:
            found = labels.get(image_id)
            if found is None and image_id in removal.library.images:
                found = removal.library.images[image_id].record.config.labels
            self.events.publish(image_event("untag", image_id, image_id, found))
        for image in removal.deleted:
            await self.tell("delete", image, image.id)


def familiar(record: ImageRecord) -> str:
    """Return how an image is best called in a message: by its first tag, or by its id."""
    return record.repo_tags[0] if record.repo_tags else record.id


def _gzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    for chunk in chunks:
        if part := compressor.compress(chunk):
            yield part
    yield compressor.flush()
