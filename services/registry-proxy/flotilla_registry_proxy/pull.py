"""One pull: what a registry has for a name comes into the image store, told as dockerd tells it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from flotilla_bus import Accept, Empty, Stream
from flotilla_bus.contracts.registry import PullRequest
from flotilla_core.errors import FlotillaError, InternalError, NotFoundError, UnavailableError
from flotilla_engine import progress
from flotilla_engine.records import ImageRecord
from flotilla_oci import digests, manifests, platforms, references
from flotilla_oci.manifests import Descriptor, Index, Manifest
from flotilla_oci.platforms import Platform
from flotilla_oci.references import Reference
from flotilla_oci.registry.client import Fetched, RegistryClient, opened
from flotilla_oci.registry.hosts import RegistryHosts
from flotilla_oci.registry.tokens import Login
from flotilla_registry_proxy.image_store import ImageStore
from flotilla_registry_proxy.outcomes import of_pull
from flotilla_registry_proxy.transfers import Stage, Transfer, Transfers

_MAX_CONFIG = 8 << 20
_SHOW_INTERVAL_S = 0.1
_ATTEMPTS = 4
_ID_LENGTH = 12


@dataclass(frozen=True)
class Means:
    """What pulls share."""

    store: ImageStore
    hosts: RegistryHosts
    transfers: Transfers
    parallel: int


class Pull:
    """Carries out one request."""

    def __init__(self, means: Means, request: PullRequest, login: Login) -> None:
        """Prepare; `run` does it."""
        self._means = means
        self._login = login
        self._reference = references.parse(request.reference)
        self._all_tags = request.all_tags
        self._platform = platforms.parse(request.platform) if request.platform else platforms.host()
        self._is_platform_given = bool(request.platform)
        self._out: Stream | None = None
        self._slots = asyncio.Semaphore(means.parallel)
        self.image: ImageRecord | None = None

    async def run(self, accept: Accept[Empty]) -> bool:
        """Pull; returns whether it went well.

        Raises:
            FlotillaError: If it fails before there is anything to tell; later failures are told.
        """
        endpoints = self._means.hosts.endpoints(self._reference.domain, with_mirrors=True)
        problem: FlotillaError = NotFoundError("no registry endpoint")
        for endpoint in endpoints:
            is_reached = False
            try:
                async with opened(endpoint, self._login) as client:
                    is_reached = True
                    await self._from(client, accept)
            except FlotillaError as error:
                problem = of_pull(error, self._reference)
                if self._out is not None or (is_reached and not endpoint.is_mirror):
                    break
            else:
                return True
        if self._out is None:
            raise problem
        await self._out.write(progress.error(problem.message))
        await self._out.write_eof()
        return False

    async def _from(self, client: RegistryClient, accept: Accept[Empty]) -> None:
        names = [self._reference]
        if self._all_tags:
            names = [self._reference.with_tag(tag) for tag in await client.tags(self._reference)]
        has_changed = False
        for name in names:
            has_changed = await self._pull(client, name, accept) or has_changed
        what = "Downloaded newer image" if has_changed else "Image is up to date"
        out = await self._opened_output(accept)
        await out.write(progress.status(f"Status: {what} for {self._reference.familiar}"))
        await self._check_platform()
        await out.write_eof()

    async def _pull(self, client: RegistryClient, name: Reference, accept: Accept[Empty]) -> bool:
        digest = name.digest or await client.head(name)
        top = await client.manifest(name.with_digest(digest))
        out = await self._opened_output(accept)
        await out.write(
            progress.status(f"Pulling from {name.path}", id=name.digest or name.tag or "")
        )
        parsed = manifests.parse(top.data, top.media_type)
        if isinstance(parsed, Index):
            chosen = parsed.select(self._platform)
            if chosen is None:
                raise NotFoundError(
                    f"no matching manifest for {_shown(self._platform)} in the manifest list "
                    "entries"
                )
            picked = await client.manifest(name.with_digest(chosen.digest))
            parsed = manifests.parse(picked.data, picked.media_type)
        else:
            picked = top
        if not isinstance(parsed, Manifest):
            raise InternalError("an index within an index is not supported")
        if not await self._means.store.has_image(parsed.config.digest):
            await self._fetch_blobs(client, name, parsed, out)
        answer = await self._means.store.put_manifest(
            name.without_suffix(),
            Fetched(picked.data, parsed.media_type, picked.digest),
            None if picked is top else Fetched(top.data, top.media_type, top.digest),
            [] if name.digest else [name],
        )
        self.image = answer.image
        await out.write(progress.status(f"Digest: {top.digest}"))
        return answer.changed

    async def _fetch_blobs(
        self, client: RegistryClient, name: Reference, manifest: Manifest, out: Stream
    ) -> None:
        store = self._means.store
        layers = list({layer.digest: layer for layer in manifest.layers}.values())
        wanted = [manifest.config.digest, *(layer.digest for layer in layers)]
        missing = await store.missing(wanted)
        absent = [layer for layer in layers if layer.digest in missing]
        for layer in layers:
            text = "Pulling fs layer" if layer.digest in missing else "Already exists"
            await out.write(progress.done(text, _short(layer.digest)))
        followers = _Followers(self._means.transfers, out)
        try:
            for layer in absent:
                followers.add(self._transfer(client, name, layer))
            if manifest.config.digest in missing:
                config = await client.read_blob(name, manifest.config.digest, _MAX_CONFIG)
                await store.put_blob(manifest.config.digest, _once(config))
            await followers.finish()
        finally:
            await followers.close()

    def _transfer(self, client: RegistryClient, name: Reference, layer: Descriptor) -> Transfer:
        async def work(transfer: Transfer) -> None:
            async with self._slots, client.sibling() as own:
                for attempt in range(1, _ATTEMPTS + 1):
                    transfer.at(Stage.DOWNLOADING)
                    chunks = own.blob(name, layer.digest, partial(_show, transfer))
                    try:
                        await self._means.store.put_blob(layer.digest, chunks)
                        break
                    except UnavailableError:
                        if attempt == _ATTEMPTS:
                            raise
                        await asyncio.sleep(attempt)
                transfer.at(Stage.VERIFYING, transfer.total)

        return self._means.transfers.join(name.name, layer.digest, layer.size_bytes, work)

    async def _opened_output(self, accept: Accept[Empty]) -> Stream:
        if self._out is None:
            self._out = await accept(Empty())
        return self._out

    async def _check_platform(self) -> None:
        """Check that the registry had the image for the platform that was asked for.

        Raises:
            NotFoundError: If it did not; the image stays.
        """
        if self.image is None or not self._is_platform_given:
            return
        record = self.image.platform
        has = platforms.normalized(record.os, record.architecture, record.variant)
        if not platforms.satisfies(has, self._platform):
            raise NotFoundError(
                f"image with reference {self._reference.familiar} was found but does not match "
                f"the specified platform: wanted {self._platform}, actual: {has}"
            )


class _Followers:
    """Shows transfers on an output, each in a task; layers complete from the lowest to the top."""

    def __init__(self, transfers: Transfers, out: Stream) -> None:
        self._transfers = transfers
        self._out = out
        self._followed: list[Transfer] = []
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, transfer: Transfer) -> None:
        """Show one more transfer, above those that were added before."""
        below = self._tasks[-1] if self._tasks else None
        self._followed.append(transfer)
        self._tasks.append(asyncio.create_task(self._follow(transfer, below)))

    async def finish(self) -> None:
        """Return when all layers are complete.

        Raises:
            FlotillaError: If one cannot be had.
        """
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stop showing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transfer in self._followed:
            self._transfers.leave(transfer)

    async def _follow(self, transfer: Transfer, below: asyncio.Task[None] | None) -> None:
        short = _short(transfer.digest)
        clock = asyncio.get_running_loop()
        shown_at = -1.0
        stage = Stage.DONE
        async for _ in transfer.changes():
            if transfer.stage is not stage and transfer.stage is not Stage.DOWNLOADING:
                await self._out.write(progress.done(transfer.stage.value, short))
            elif transfer.stage is Stage.DOWNLOADING and (
                clock.time() - shown_at > _SHOW_INTERVAL_S
            ):
                shown_at = clock.time()
                await self._out.write(
                    progress.advance("Downloading", short, transfer.current, transfer.total)
                )
            stage = transfer.stage
        if stage is not Stage.DONE:
            await self._out.write(progress.done(Stage.DONE.value, short))
        if below is not None:
            await asyncio.wait([below])
        total = transfer.total
        await self._out.write(progress.advance("Extracting", short, total, total))
        await self._out.write(progress.done("Pull complete", short))


def _show(transfer: Transfer, count: int) -> None:
    transfer.current = count
    transfer.notify()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _short(digest: str) -> str:
    return digests.hex_of(digest)[:_ID_LENGTH]


def _shown(platform: Platform) -> str:
    """Write a platform with the variant that is left out of its normal form."""
    return f"{platform}/v8" if platform.architecture == "arm64" else str(platform)
