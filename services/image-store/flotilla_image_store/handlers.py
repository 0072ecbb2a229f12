"""The image store's side of its contract on the bus."""

from collections.abc import Iterable

from flotilla_bus import Empty, Service
from flotilla_bus.contracts import images as contract
from flotilla_core.errors import InvalidArgumentError
from flotilla_image_store.images import Images
from flotilla_image_store.streams import ImageStreams
from flotilla_oci import digests, references
from flotilla_oci.references import Reference


class Handlers:
    """Translates between messages and images."""

    def __init__(self, images: Images) -> None:
        """Answer for these images."""
        self._images = images

    def register(self, service: Service) -> None:
        """Serve every method of the contract."""
        service.handle(contract.RESOLVE, self.resolve)
        service.handle(contract.LIST, self.list)
        service.handle(contract.HISTORY, self.history)
        service.handle(contract.TAG, self.tag)
        service.handle(contract.REMOVE, self.remove)
        service.handle(contract.PRUNE, self.prune)
        service.handle(contract.USAGE, self.usage)
        service.handle(contract.PUT_MANIFEST, self.put_manifest)
        service.handle(contract.MANIFEST, self.manifest)
        service.handle(contract.MISSING_BLOBS, self.missing_blobs)
        streams = ImageStreams(self._images)
        service.handle_stream(contract.SAVE, streams.save)
        service.handle_stream(contract.LOAD, streams.load)
        service.handle_stream(contract.IMPORT, streams.import_)
        service.handle_stream(contract.COMMIT, streams.commit)

    async def resolve(self, request: contract.ImageRequest) -> contract.ImageAnswer:
        """Find an image."""
        image = await self._images.resolve(request.reference, request.platform)
        return contract.ImageAnswer(image=image.named())

    async def list(self, request: contract.ListRequest) -> contract.ListAnswer:
        """List images."""
        return contract.ListAnswer(images=[*await self._images.list(request)])

    async def history(self, request: contract.ImageRequest) -> contract.HistoryAnswer:
        """Tell how an image came about."""
        entries = await self._images.history(request.reference, request.platform)
        return contract.HistoryAnswer(entries=[*entries])

    async def tag(self, request: contract.TagRequest) -> Empty:
        """Give an image one more name."""
        await self._images.tag(request.source, request.target)
        return Empty()

    async def remove(self, request: contract.RemoveRequest) -> contract.RemoveAnswer:
        """Untag or delete an image."""
        return await self._images.remove(
            request.reference,
            force=request.force,
            prune_parents=not request.no_prune,
            in_use=request.in_use,
        )

    async def prune(self, request: contract.PruneRequest) -> contract.RemoveAnswer:
        """Remove what is not used."""
        return await self._images.prune({**request.filters}, request.in_use)

    async def usage(self, _: Empty) -> contract.UsageAnswer:
        """Measure all layers."""
        return contract.UsageAnswer(layers_size_bytes=await self._images.usage())

    async def put_manifest(
        self, request: contract.PutManifestRequest
    ) -> contract.PutManifestAnswer:
        """Make an image of blobs that are here."""
        manifest = request.manifest.encode()
        if digests.digest_of(manifest) != request.manifest_digest:
            raise InvalidArgumentError("manifest does not match its digest")
        held: list[tuple[str, str]] = []
        if request.index:
            index = request.index.encode()
            if digests.digest_of(index) != request.index_digest:
                raise InvalidArgumentError("index does not match its digest")
            await self._images.learn(self._images.blobs.put(index))
            held.append((request.index_digest, request.index_media_type))
        names = _names(request)
        put = await self._images.put(manifest, request.manifest_media_type, names, also_held=held)
        return contract.PutManifestAnswer(image=put.image.named(), changed=put.changed)

    async def manifest(self, request: contract.ManifestRequest) -> contract.ManifestAnswer:
        """Return what to push."""
        image, raw = await self._images.pushable(request.reference)
        return contract.ManifestAnswer(
            digest=digests.digest_of(raw),
            media_type=image.manifest_media_type,
            manifest=raw.decode(),
            image=image.named(),
        )

    async def missing_blobs(self, request: contract.BlobsRequest) -> contract.BlobsAnswer:
        """Tell which blobs are not here; the others stay for a while."""
        return contract.BlobsAnswer(missing=[*await self._images.missing(request.digests)])


def _names(request: contract.PutManifestRequest) -> Iterable[Reference]:
    repository = references.parse(request.repository)
    yield repository.with_digest(request.index_digest or request.manifest_digest)
    for tag in request.tags:
        yield references.parse(tag).with_default_tag()
