"""The image store as a registry: the OCI distribution specification 1.1 over HTTP.

Agents get layers from here, the registry proxy brings blobs, and skopeo or another engine may use
it as any registry. Blobs are the fleet's: which repository a blob's address names does not matter.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flotilla_core.errors import FlotillaError, InvalidArgumentError, NotFoundError
from flotilla_image_store.access import SharedSecret
from flotilla_image_store.answers import failure, file_answer, of_error
from flotilla_image_store.blobs import Ingest
from flotilla_image_store.images import Images
from flotilla_oci import digests, manifests, references
from flotilla_oci.manifests import Index
from flotilla_oci.references import Reference

_MAX_MANIFEST = 4 << 20
_BATCH_BYTES = 1 << 20
_MAX_UPLOADS = 1000
_IDLE_S = 3600.0

_Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class _Upload:
    ingest: Ingest
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    used_at: float = field(default_factory=time.monotonic)


class Distribution:
    """The endpoint's handlers and its uploads under way."""

    def __init__(self, images: Images) -> None:
        """Serve these images."""
        self._images = images
        self._uploads: dict[str, _Upload] = {}

    def application(self, secret_file: Path | None) -> Starlette:
        """Return the ASGI application, guarded by the secret in the file."""
        name = "/v2/{name:path}"
        reading = ["GET", "HEAD"]
        routes = [
            Route("/v2/", self._base),
            Route("/v2", self._base),
            Route("/v2/_catalog", self._catalogue),
            Route(f"{name}/blobs/uploads/", _guarded(self._begin), methods=["POST"]),
            Route(f"{name}/blobs/uploads/{{id}}", _guarded(self._append), methods=["PATCH"]),
            Route(f"{name}/blobs/uploads/{{id}}", _guarded(self._finish), methods=["PUT"]),
            Route(f"{name}/blobs/uploads/{{id}}", _guarded(self._progress)),
            Route(f"{name}/blobs/uploads/{{id}}", _guarded(self._cancel), methods=["DELETE"]),
            Route(f"{name}/blobs/{{digest}}", _guarded(self._blob), methods=reading),
            Route(f"{name}/manifests/{{reference}}", _guarded(self._manifest), methods=reading),
            Route(f"{name}/manifests/{{reference}}", _guarded(self._put), methods=["PUT"]),
            Route(f"{name}/tags/list", _guarded(self._tags)),
        ]
        return Starlette(
            routes=routes, middleware=[Middleware(SharedSecret, secret_file=secret_file)]
        )

    async def close(self) -> None:
        """Drop uploads under way."""
        for upload in self._uploads.values():
            upload.ingest.abort()
        self._uploads.clear()

    async def _base(self, _: Request) -> Response:
        return JSONResponse({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})

    async def _catalogue(self, _: Request) -> Response:
        async with self._images.database.reading() as reading:
            return JSONResponse({"repositories": await reading.repositories()})

    async def _tags(self, request: Request) -> Response:
        repository = _repository(request)
        async with self._images.database.reading() as reading:
            tags = await reading.tags(repository.name)
        if not tags:
            raise NotFoundError(f"repository name not known to registry: {repository.name}")
        return JSONResponse(
            {"name": request.path_params["name"], "tags": [tag.tag for tag in tags]}
        )

    async def _blob(self, request: Request) -> Response:
        digest = digests.validated(request.path_params["digest"])
        path = self._images.blobs.path(digest)
        headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        return await file_answer(request, path, manifests.OCTETS, headers)

    async def _manifest(self, request: Request) -> Response:
        reference = request.path_params["reference"]
        repository = _repository(request)
        if digests.is_digest(reference):
            digest = reference
            async with self._images.database.reading() as reading:
                media_type = await reading.media_type(digest)
        else:
            image = await self._images.resolve(str(repository.with_tag(reference)))
            digest, media_type = image.manifest_digest, image.manifest_media_type
        headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        return await file_answer(request, self._images.blobs.path(digest), media_type, headers)

    async def _put(self, request: Request) -> Response:
        reference = request.path_params["reference"]
        repository = _repository(request)
        body = await _small_body(request)
        media_type = request.headers.get("content-type", "")
        digest = digests.digest_of(body)
        names = [repository.with_digest(digest)]
        if digests.is_digest(reference):
            if reference != digest:
                raise InvalidArgumentError("provided digest did not match uploaded content")
        else:
            names.append(repository.with_tag(reference))
        if isinstance(manifests.parse(body, media_type), Index):
            return failure(415, "UNSUPPORTED", "indexes cannot be pushed to the image store")
        await self._images.put(body, media_type, names)
        return Response(
            status_code=201,
            headers={
                "Location": f"/v2/{request.path_params['name']}/manifests/{digest}",
                "Docker-Content-Digest": digest,
            },
        )

    async def _begin(self, request: Request) -> Response:
        name = request.path_params["name"]
        mount = request.query_params.get("mount", "")
        if mount and not await self._images.missing([mount]):
            return _created(name, mount)
        self._drop_idle()
        if len(self._uploads) >= _MAX_UPLOADS:
            return failure(429, "TOOMANYREQUESTS", "too many uploads under way")
        key = secrets.token_urlsafe(16)
        self._uploads[key] = _Upload(await asyncio.to_thread(self._images.blobs.ingest))
        if request.query_params.get("digest"):
            request.path_params["id"] = key
            return await self._finish(request)
        return self._accepted(name, key)

    async def _append(self, request: Request) -> Response:
        key, upload = self._upload(request)
        async with upload.lock:
            start = request.headers.get("content-range", "").partition("-")[0]
            if start and start != str(upload.ingest.size_bytes):
                return failure(416, "BLOB_UPLOAD_INVALID", "range does not follow what has come")
            await self._receive(request, upload)
        return self._accepted(request.path_params["name"], key)

    async def _finish(self, request: Request) -> Response:
        key, upload = self._upload(request)
        digest = digests.validated(request.query_params.get("digest", ""))
        async with upload.lock:
            await self._receive(request, upload)
            del self._uploads[key]
            try:
                blob = await asyncio.to_thread(upload.ingest.finish, digest)
            except InvalidArgumentError as error:
                return of_error(error, code="DIGEST_INVALID")
        await self._images.learn(blob)
        return _created(request.path_params["name"], digest)

    async def _progress(self, request: Request) -> Response:
        key, _ = self._upload(request)
        answer = self._accepted(request.path_params["name"], key)
        answer.status_code = 204
        return answer

    async def _cancel(self, request: Request) -> Response:
        key, upload = self._upload(request)
        del self._uploads[key]
        upload.ingest.abort()
        return Response(status_code=204)

    async def _receive(self, request: Request, upload: _Upload) -> None:
        batch = bytearray()
        async for chunk in request.stream():
            batch += chunk
            if len(batch) >= _BATCH_BYTES:
                await asyncio.to_thread(upload.ingest.write, bytes(batch))
                batch.clear()
        if batch:
            await asyncio.to_thread(upload.ingest.write, bytes(batch))

    def _upload(self, request: Request) -> tuple[str, _Upload]:
        key = request.path_params["id"]
        upload = self._uploads.get(key)
        if upload is None:
            raise NotFoundError("blob upload unknown to registry")
        upload.used_at = time.monotonic()
        return key, upload

    def _drop_idle(self) -> None:
        """Drop uploads whose client has given up without a word."""
        now = time.monotonic()
        for key, upload in list(self._uploads.items()):
            if now - upload.used_at > _IDLE_S and not upload.lock.locked():
                del self._uploads[key]
                upload.ingest.abort()

    def _accepted(self, name: str, key: str) -> Response:
        size = self._uploads[key].ingest.size_bytes
        return Response(
            status_code=202,
            headers={
                "Location": f"/v2/{name}/blobs/uploads/{key}",
                "Docker-Upload-UUID": key,
                "Range": f"0-{max(0, size - 1)}",
            },
        )


def _guarded(handler: _Handler) -> _Handler:
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except FlotillaError as error:
            return of_error(error)

    return guarded


def _created(name: str, digest: str) -> Response:
    return Response(
        status_code=201,
        headers={"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest},
    )


def _repository(request: Request) -> Reference:
    return references.parse(request.path_params["name"]).without_suffix()


async def _small_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_MANIFEST:
            raise InvalidArgumentError("manifest too large")
    return bytes(body)
