"""One push: what the image store has under a name goes to its registry, told as dockerd does."""

import asyncio
from collections.abc import AsyncIterator

from flotilla_bus import Stream
from flotilla_core.errors import FlotillaError, InternalError, NotFoundError
from flotilla_engine import progress
from flotilla_engine.records import ImageRecord, Layer
from flotilla_oci import digests, manifests, references
from flotilla_oci.manifests import Manifest
from flotilla_oci.references import Reference
from flotilla_oci.registry.client import Fetched, RegistryClient, reached
from flotilla_oci.registry.hosts import RegistryHosts
from flotilla_oci.registry.tokens import Login
from flotilla_registry_proxy.image_store import ImageStore
from flotilla_registry_proxy.outcomes import first_of

_SHOW_INTERVAL_S = 0.1
_ID_LENGTH = 12


class Push:
    """Carries out one request."""

    def __init__(
        self,
        store: ImageStore,
        hosts: RegistryHosts,
        reference: str,
        login: Login,
        *,
        parallel: int,
    ) -> None:
        """Prepare; `run` does it."""
        self._store = store
        self._hosts = hosts
        self._reference = references.parse(reference)
        self._login = login
        self._slots = asyncio.Semaphore(parallel)

    async def run(self, out: Stream) -> list[tuple[Reference, ImageRecord]]:
        """Push, tell everything on the output, and return what was pushed."""
        pushed: list[tuple[Reference, ImageRecord]] = []
        await out.write(progress.status(f"The push refers to repository [{self._reference.name}]"))
        try:
            names = await self._names()
            endpoints = self._hosts.endpoints(self._reference.domain, with_mirrors=False)
            async with reached(endpoints, self._login) as client:
                for name in names:
                    pushed.append((name, await self._push(client, name, out)))
        except FlotillaError as error:
            await out.write(progress.error(_text(error)))
        await out.write_eof()
        return pushed

    async def _names(self) -> list[Reference]:
        """Return the tags to push.

        Raises:
            NotFoundError: If there is none.
        """
        repository = self._reference.without_suffix()
        found = [
            tag
            for image in await self._store.images()
            for text in image.repo_tags
            if (tag := references.parse(text)).without_suffix() == repository
        ]
        if not found:
            raise NotFoundError(
                f"An image does not exist locally with the tag: {repository.familiar_name}"
            )
        if self._reference.tag is None:
            return sorted(found, key=str)
        if self._reference not in found:
            raise NotFoundError(f"tag does not exist: {self._reference.familiar}")
        return [self._reference]

    async def _push(self, client: RegistryClient, name: Reference, out: Stream) -> ImageRecord:
        kept = await self._store.manifest(str(name))
        data = kept.manifest.encode()
        manifest = manifests.parse(data, kept.media_type)
        assert isinstance(manifest, Manifest)
        layers = {layer.digest: layer for layer in kept.image.layers}
        ordered = [layers[layer.digest] for layer in reversed(manifest.layers)]
        for layer in ordered:
            await out.write(progress.done("Preparing", _short(layer.diff_id)))
        tasks = [
            asyncio.create_task(self._layer(client, name, layer, out))
            for layer in {layer.digest: layer for layer in ordered}.values()
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        config = manifest.config
        if not await client.has_blob(name, config.digest):
            chunks = self._store.blob(config.digest)
            await client.upload(name, config.digest, config.size_bytes, chunks)
        digest = await client.put_manifest(name, data, kept.media_type)
        if digest != kept.digest:
            raise InternalError(f"registry has stored {digest} for {kept.digest}")
        fetched = Fetched(data, kept.media_type, kept.digest)
        answer = await self._store.put_manifest(name.without_suffix(), fetched)
        size = len(data)
        await out.write(progress.status(f"{name.tag}: digest: {digest} size: {size}"))
        await out.write(progress.aux({"Tag": name.tag, "Digest": digest, "Size": size}))
        return answer.image

    async def _layer(
        self, client: RegistryClient, name: Reference, layer: Layer, out: Stream
    ) -> None:
        short = _short(layer.diff_id)
        async with self._slots:
            if await client.has_blob(name, layer.digest):
                await out.write(progress.done("Layer already exists", short))
                return
            chunks = _shown(self._store.blob(layer.digest), layer, out)
            await client.upload(name, layer.digest, layer.size_bytes, chunks)
            await out.write(progress.done("Pushed", short))


async def _shown(chunks: AsyncIterator[bytes], layer: Layer, out: Stream) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop()
    shown_at = -1.0
    count = 0
    async for chunk in chunks:
        yield chunk
        count += len(chunk)
        if clock.time() - shown_at > _SHOW_INTERVAL_S:
            shown_at = clock.time()
            await out.write(
                progress.advance("Pushing", _short(layer.diff_id), count, layer.size_bytes)
            )


def _text(error: FlotillaError) -> str:
    """Return a refusal's text without the request that was refused, as dockerd shows it."""
    text = first_of(error)
    return "no basic auth credentials" if text.endswith("no basic auth credentials") else text


def _short(digest: str) -> str:
    return digests.hex_of(digest)[:_ID_LENGTH]
