"""The image store as the registry proxy uses it: blobs over HTTP, everything else over the bus."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from flotilla_bus import Bus
from flotilla_bus.contracts import images as contract
from flotilla_bus.methods import A, Method, Q
from flotilla_core.errors import (
    DeadlineExceededError,
    InternalError,
    NotFoundError,
    UnavailableError,
)
from flotilla_engine.records import ImageRecord
from flotilla_oci.references import Reference
from flotilla_oci.registry.client import Fetched

_TIMEOUT = httpx.Timeout(120.0, connect=10.0)
_CHUNK_BYTES = 1 << 20
_PATH = "/v2/fleet/blobs"
_COMPRESS_TIMEOUT_S = 1800
_ANSWER_WITHIN_S = 20
_ATTEMPTS = 5
_PAUSE_S = 1.0


class ImageStore:
    """A client of the image store; an async context manager."""

    def __init__(self, bus: Bus, url: str, token_file: Path | None, ca_file: Path | None) -> None:
        """Reach the store by the bus, and its blobs at the URL."""
        self._bus = bus
        self._token_file = token_file
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=_TIMEOUT,
            verify=str(ca_file) if ca_file else True,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Open the connections."""
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._http.__aexit__(kind, error, trace)

    async def missing(self, digests: Sequence[str]) -> set[str]:
        """Return the blobs that the store lacks; it keeps the others for a while."""
        request = contract.BlobsRequest(digests=[*dict.fromkeys(digests)])
        answer = await self._ask(contract.MISSING_BLOBS, request)
        return set(answer.missing)

    async def put_blob(self, digest: str, chunks: AsyncIterator[bytes]) -> None:
        """Bring a blob to the store, which verifies it.

        Raises:
            UnavailableError: If the store does not answer.
            InternalError: If it refuses.
        """
        headers = self._headers()
        try:
            begun = await self._http.post(f"{_PATH}/uploads/", headers=headers)
            _check(begun, httpx.codes.ACCEPTED)
            location = begun.headers["location"]
            try:
                _check(
                    await self._http.patch(location, headers=headers, content=chunks),
                    httpx.codes.ACCEPTED,
                )
                done = await self._http.put(f"{location}?digest={digest}", headers=headers)
                _check(done, httpx.codes.CREATED)
            except BaseException:
                with contextlib.suppress(httpx.TransportError):
                    await self._http.delete(location, headers=headers)
                raise
        except httpx.TransportError as error:
            raise UnavailableError(f"image store does not answer: {error}") from error

    async def blob(self, digest: str) -> AsyncIterator[bytes]:
        """Yield a blob.

        Raises:
            UnavailableError: If the store does not answer.
            InternalError: If it has no such blob.
        """
        try:
            path = f"{_PATH}/{digest}"
            async with self._http.stream("GET", path, headers=self._headers()) as answer:
                _check(answer, httpx.codes.OK)
                async for chunk in answer.aiter_bytes(_CHUNK_BYTES):
                    yield chunk
        except httpx.TransportError as error:
            raise UnavailableError(f"image store does not answer: {error}") from error

    async def put_manifest(
        self,
        repository: Reference,
        manifest: Fetched,
        index: Fetched | None = None,
        tags: Sequence[Reference] = (),
    ) -> contract.PutManifestAnswer:
        """Make an image of blobs that are in the store."""
        request = contract.PutManifestRequest(
            manifest_digest=manifest.digest,
            manifest_media_type=manifest.media_type,
            manifest=manifest.data.decode(),
            tags=[str(tag) for tag in tags],
            repository=repository.name,
            index_digest=index.digest if index else "",
            index_media_type=index.media_type if index else "",
            index=index.data.decode() if index else "",
        )
        return await self._ask(contract.PUT_MANIFEST, request)

    async def manifest(self, reference: str) -> contract.ManifestAnswer:
        """Return what to push for a reference, its layers compressed."""
        request = contract.ManifestRequest(reference=reference)
        return await self._bus.call(contract.MANIFEST, request, timeout_s=_COMPRESS_TIMEOUT_S)

    async def images(self) -> list[ImageRecord]:
        """Return all images."""
        answer = await self._ask(contract.LIST, contract.ListRequest(all=True))
        return [one.image for one in answer.images]

    async def has_image(self, image_id: str) -> bool:
        """Tell whether there is an image of that id."""
        try:
            await self._ask(contract.RESOLVE, contract.ImageRequest(reference=image_id))
        except NotFoundError:
            return False
        return True

    async def _ask(self, method: Method[Q, A], request: Q) -> A:
        """Call a method that may be repeated; a store that is being restarted is waited for.

        Raises:
            FlotillaError: What the store raises, or that it does not come back.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._bus.call(method, request, timeout_s=_ANSWER_WITHIN_S)
            except (UnavailableError, DeadlineExceededError):
                await asyncio.sleep(_PAUSE_S)
        return await self._bus.call(method, request, timeout_s=_ANSWER_WITHIN_S)

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}


def _check(answer: httpx.Response, wanted: int) -> None:
    """Raise what the store says, if it does not answer as wanted."""
    if answer.status_code == wanted:
        return
    text = f"image store answers {answer.status_code}"
    if not answer.is_stream_consumed:
        raise InternalError(text)
    with contextlib.suppress(ValueError, LookupError, TypeError):
        text = str(answer.json()["errors"][0]["message"])
    raise InternalError(text)
