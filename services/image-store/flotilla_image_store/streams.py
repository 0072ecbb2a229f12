"""The streaming methods: save, load, import and commit."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from flotilla_bus import Accept, Empty, Stream
from flotilla_bus.contracts.images import (
    CommitRequest,
    ImageAnswer,
    ImportRequest,
    LoadRequest,
    SaveRequest,
)
from flotilla_core.errors import FlotillaError
from flotilla_engine import progress
from flotilla_engine.config import ContainerConfig
from flotilla_engine.dockerfile import apply_changes
from flotilla_image_store import archives, loading
from flotilla_image_store.blobs import Blob, BlobFolder
from flotilla_image_store.bridging import ThreadSide
from flotilla_image_store.composing import Change, Composed, committed, imported
from flotilla_image_store.images import Images, Put
from flotilla_image_store.library import Library, StoredImage, whole_id
from flotilla_image_store.loading import Contents, Found
from flotilla_image_store.making import read_config
from flotilla_oci import digests, manifests, references
from flotilla_oci.manifests import Manifest
from flotilla_oci.references import Reference

_WRITE_BYTES = 256 << 10


class ImageStreams:
    """Carries out what comes or goes as a stream."""

    def __init__(self, images: Images) -> None:
        """Work on these images."""
        self._images = images

    async def save(self, request: SaveRequest, accept: Accept[Empty]) -> None:
        """Send a docker archive.

        Raises:
            FlotillaError: If an image is not known.
        """
        saved = await self._to_save(request)
        wanted = [layer.digest for one in saved for layer in one.image.record.layers]
        async with self._images.database.reading() as reading:
            layers = await reading.layers(wanted)
        tar_bytes = {digest: row.tar_bytes for digest, row in layers.items()}
        stream = await accept(Empty())
        side = ThreadSide(stream)
        chunks = archives.archive(saved, self._images.blobs, tar_bytes)
        await asyncio.to_thread(_send, side, chunks)
        await stream.write_eof()
        for one in saved:
            await self._images.tell("save", one.image, one.image.id)

    async def load(self, request: LoadRequest, accept: Accept[Empty]) -> None:
        """Take a docker archive or an OCI layout; progress and errors go to the stream."""
        stream = await accept(Empty())
        await _reported(stream, lambda: self._load(request, stream))

    async def import_(self, request: ImportRequest, accept: Accept[Empty]) -> None:
        """Take a root file system; the id or an error goes to the stream.

        Raises:
            InvalidArgumentError: If a name, a change or the platform is wrong.
        """
        names: list[Reference] = []
        if request.repository:
            joined = references.parse_repository_and_tag(request.repository, request.tag)
            names = [joined.with_default_tag()]
        config = apply_changes(ContainerConfig(), request.changes)
        stream = await accept(Empty())

        async def work() -> None:
            blob = await self._receive(stream)
            comment = request.message or f"Imported from {request.source}"
            composed = imported(blob, self._images.blobs, config, comment, request.platform)
            put = await self._put(composed, names)
            await self._images.tell("import", put.image, put.image.id)
            await stream.write(progress.status(put.image.id))

        await _reported(stream, work)

    async def commit(self, request: CommitRequest, accept: Accept[Empty]) -> None:
        """Take a container's changes; the image comes back as one line.

        Raises:
            FlotillaError: If the base is not known, or a name is wrong.
        """
        names: list[Reference] = []
        if request.repository:
            joined = references.parse_repository_and_tag(request.repository, request.tag)
            names = [joined.with_default_tag()]
        base = await self._images.resolve(request.base)
        stream = await accept(Empty())
        blob = await self._receive(stream)
        below = await self._images.manifest(base)
        change = Change(
            config=request.config,
            author=request.author,
            comment=request.comment,
            created_by=request.created_by,
            container=request.container,
        )
        config = read_config(self._images.blobs, below)
        composed = committed(config, below, blob, self._images.blobs, change)
        put = await self._put(composed, names, parent=base.id)
        answer = ImageAnswer(image=put.image.named())
        await stream.write(answer.model_dump_json(by_alias=True).encode() + b"\n")
        await stream.write_eof()

    async def _to_save(self, request: SaveRequest) -> list[archives.Saved]:
        async with self._images.database.reading() as reading:
            library = await reading.library()
        wanted: dict[str, list[Reference]] = {}
        for text in request.references:
            for image, name in _named(library, text, request.platform):
                names = wanted.setdefault(image.id, [])
                names += [name] if name is not None and name not in names else []
        saved = []
        for image_id, names in wanted.items():
            image = library.images[image_id]
            manifest = await self._images.manifest(image)
            config = self._images.blobs.read(manifest.config.digest)
            saved.append(archives.Saved(image, names, config))
        return saved

    async def _load(self, request: LoadRequest, stream: Stream) -> None:
        blobs = self._images.blobs
        side = ThreadSide(stream)
        contents = Contents()
        try:
            try:
                await asyncio.to_thread(loading.unpack, side.chunks(), blobs, contents)
                async with self._images.database.changing() as change:
                    for blob in contents.blobs.values():
                        await change.learn(blob)
            finally:
                blobs.settle(blob.digest for blob in contents.blobs.values())
            before = await self._known_diff_ids()
            found = await asyncio.to_thread(loading.find, contents, blobs)
            for one in found:
                if not request.quiet:
                    await _show_layers(stream, one, contents, before)
                await self._load_one(one, stream)
        finally:
            await self._images.drop([blob.digest for blob in contents.blobs.values()])

    async def _load_one(self, found: Found, stream: Stream) -> None:
        put = await self._images.put(found.manifest, found.media_type, found.names)
        for name in found.names:
            if str(name) in put.replaced:
                text = (
                    f"The image {name.familiar} already exists, renaming the old one with ID "
                    f"{put.replaced[str(name)]} to empty string\n"
                )
                await stream.write(progress.stream(text))
        for name in found.names:
            await stream.write(progress.stream(f"Loaded image: {name.familiar}\n"))
        if not found.names:
            await stream.write(progress.stream(f"Loaded image ID: {put.image.id}\n"))
        await self._images.tell("load", put.image, put.image.id)

    async def _known_diff_ids(self) -> set[str]:
        async with self._images.database.reading() as reading:
            library = await reading.library()
        return {layer.diff_id for image in library for layer in image.record.layers}

    async def _receive(self, stream: Stream) -> Blob:
        side = ThreadSide(stream)
        blob = await asyncio.to_thread(_ingest, side, self._images.blobs)
        await self._images.learn(blob)
        return blob

    async def _put(self, composed: Composed, names: list[Reference], *, parent: str = "") -> Put:
        config = await asyncio.to_thread(self._images.blobs.put, composed.config.raw)
        await self._images.learn(config)
        manifest = composed.manifest
        return await self._images.put(
            manifest.to_bytes(), manifest.media_type, names, parent=parent
        )


async def _reported(stream: Stream, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work, whose failure is told in the stream's own words, and end the stream."""
    try:
        await work()
    except FlotillaError as error:
        await stream.write(progress.error(error.message))
    await stream.write_eof()


async def _show_layers(stream: Stream, found: Found, contents: Contents, before: set[str]) -> None:
    parsed = manifests.parse(found.manifest, found.media_type)
    assert isinstance(parsed, Manifest)
    facts = {blob.digest: blob for blob in contents.blobs.values()}
    for layer in parsed.layers:
        blob = facts.get(layer.digest)
        if blob is None or blob.layer is None or blob.layer.diff_id in before:
            continue
        before.add(blob.layer.diff_id)
        short = digests.hex_of(blob.layer.diff_id)[:12]
        size = blob.size_bytes
        await stream.write(progress.advance("Loading layer", short, size, size))


def _ingest(side: ThreadSide, blobs: BlobFolder) -> Blob:
    ingest = blobs.ingest()
    try:
        for chunk in side.chunks():
            ingest.write(chunk)
        return ingest.finish()
    finally:
        ingest.abort()


def _send(side: ThreadSide, chunks: Iterator[bytes]) -> None:
    """Send in pieces of a fair size: each costs a way to the event loop and back."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        if len(waiting) >= _WRITE_BYTES:
            side.write(bytes(waiting))
            waiting.clear()
    side.write(bytes(waiting))


def _named(
    library: Library, text: str, platform: str
) -> list[tuple[StoredImage, Reference | None]]:
    """Return what a name on the command line of `docker save` means."""
    if not references.is_identifier(text) or ":" not in text:
        reference = references.parse(text) if not whole_id(text) else None
        if reference is not None and not reference.tag and not reference.digest:
            tags = [(image, tag) for image in library for tag in image.tags]
            of_repository = [(image, tag) for image, tag in tags if tag.name == reference.name]
            if of_repository:
                return [(image, tag) for image, tag in of_repository]
    image = library.resolve(text, platform)
    is_id = image.id.startswith(text) or image.id.partition(":")[2].startswith(text)
    named = None if is_id else references.parse(text)
    return [(image, named if named is not None and not named.digest else None)]
