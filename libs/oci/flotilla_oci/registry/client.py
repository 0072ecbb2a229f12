"""Talks to one registry: manifests, blobs in resumable pieces, uploads; never logs a secret."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpx

from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_oci import digests, manifests
from flotilla_oci.references import Reference
from flotilla_oci.registry import problems
from flotilla_oci.registry.connection import RegistryConnection
from flotilla_oci.registry.hosts import Endpoint
from flotilla_oci.registry.tokens import Login

_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 5
_PAUSE_S = 1.0
_PAGE = 1000
_MANIFESTS = {"Accept": ", ".join(manifests.ACCEPTED)}

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Fetched:
    """A manifest or an index as it came."""

    data: bytes
    media_type: str
    digest: str


class RegistryClient:
    """A client of one registry, for one login; an async context manager."""

    def __init__(self, connection: RegistryConnection) -> None:
        """Use a connection, which lasts as long as the client's context."""
        self._connection = connection

    async def __aenter__(self) -> Self:
        """Open the connection."""
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self._connection.__aexit__(kind, error, trace)

    @property
    def url(self) -> str:
        """The registry's address."""
        return self._connection.endpoint.url

    def sibling(self) -> "RegistryClient":
        """Return a client with connections of its own that is let in as this one is."""
        return RegistryClient(self._connection.sibling())

    async def ping(self) -> None:
        """Learn whether this is a registry, and what it wants to see.

        Raises:
            httpx.TransportError: If it cannot be reached, for the caller to try another way.
            RegistryError: If it is none.
        """
        await self._connection.ping()

    async def check_login(self) -> int:
        """Try the login; returns the status of the registry's base with it.

        Raises:
            RegistryError: If the token service refuses.
        """
        return await self._connection.check_login()

    async def head(self, reference: Reference) -> str:
        """Return the digest that a tag points at now.

        Raises:
            FlotillaError: If there is no such tag, or the registry refuses or is unreachable.
        """
        path = f"/v2/{reference.path}/manifests/{reference.tag}"
        headers = {"Accept": ", ".join(manifests.ACCEPTED)}
        answer = await self._connection.request(
            "HEAD", path, _pull_scope(reference), headers=headers
        )
        digest = answer.headers.get("docker-content-digest", "")
        if answer.is_success and digest:
            return digests.validated(digest)
        return (await self.manifest(reference)).digest

    async def manifest(self, reference: Reference) -> Fetched:
        """Fetch a manifest or an index by tag or digest; a digest is verified.

        Raises:
            FlotillaError: If there is none, or the registry refuses or is unreachable.
        """
        name = reference.digest or reference.tag
        path = f"/v2/{reference.path}/manifests/{name}"
        headers = {"Accept": ", ".join(manifests.ACCEPTED)}
        answer = await self._connection.request(
            "GET", path, _pull_scope(reference), headers=headers
        )
        if not answer.is_success:
            raise problems.of_answer(answer.status_code, answer.content)
        digest = digests.digest_of(answer.content)
        if reference.digest and digest != reference.digest:
            raise InvalidArgumentError(
                f"manifest verification failed for digest {reference.digest}"
            )
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        return Fetched(answer.content, media_type, digest)

    async def tags(self, reference: Reference) -> list[str]:
        """Return all tags of a repository.

        Raises:
            FlotillaError: If there is no such repository, or the registry refuses.
        """
        found: list[str] = []
        path = f"/v2/{reference.path}/tags/list?n={_PAGE}"
        while path:
            answer = await self._connection.request("GET", path, _pull_scope(reference))
            if not answer.is_success:
                raise problems.of_answer(answer.status_code, answer.content)
            found += answer.json().get("tags") or []
            following = answer.links.get("next", {}).get("url", "")
            path = following if following.startswith("/") else ""
        return found

    async def blob(
        self, reference: Reference, digest: str, progress: Progress | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a blob; a broken connection is taken up where it broke, the digest is verified.

        Raises:
            FlotillaError: If there is no such blob, or it does not have that digest.
        """
        path = f"/v2/{reference.path}/blobs/{digest}"
        sha = hashlib.new(digest.partition(":")[0])
        offset = 0
        failures = 0
        while True:
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            try:
                async with self._connection.stream(path, _pull_scope(reference), headers) as answer:
                    resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
                    known = 0 if resumed else offset
                    async for received in answer.aiter_bytes(_CHUNK_BYTES):
                        chunk = received[known:]
                        known -= len(received) - len(chunk)
                        sha.update(chunk)
                        offset += len(chunk)
                        failures = 0
                        if progress:
                            progress(offset)
                        if chunk:
                            yield chunk
                break
            except httpx.TransportError as error:
                failures += 1
                if failures >= _ATTEMPTS:
                    raise problems.unreachable("Get", self._connection.url(path), error) from error
                await asyncio.sleep(_PAUSE_S * failures)
        if sha.hexdigest() != digests.hex_of(digest):
            raise InvalidArgumentError(f"filesystem layer verification failed for digest {digest}")

    async def read_blob(self, reference: Reference, digest: str, limit: int) -> bytes:
        """Return a small blob.

        Raises:
            FlotillaError: As of `blob`, and if it is larger than the limit.
        """
        content = bytearray()
        async for chunk in self.blob(reference, digest):
            content += chunk
            if len(content) > limit:
                raise InvalidArgumentError(f"blob {digest} is too large")
        return bytes(content)

    async def has_blob(self, reference: Reference, digest: str) -> bool:
        """Tell whether the repository has a blob.

        Raises:
            FlotillaError: If the registry refuses or is unreachable.
        """
        path = f"/v2/{reference.path}/blobs/{digest}"
        answer = await self._connection.request("HEAD", path, _push_scope(reference))
        if answer.is_success:
            return True
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        raise problems.of_answer(answer.status_code, answer.content)

    async def upload(
        self, reference: Reference, digest: str, size_bytes: int, chunks: AsyncIterator[bytes]
    ) -> None:
        """Bring a blob to the repository, in one streamed request.

        Raises:
            FlotillaError: If the registry refuses or is unreachable.
        """
        scope = _push_scope(reference)
        path = f"/v2/{reference.path}/blobs/uploads/"
        begun = await self._connection.request("POST", path, scope)
        if begun.status_code != httpx.codes.ACCEPTED:
            raise problems.of_answer(begun.status_code, begun.content)
        location = urljoin(str(begun.url), begun.headers["location"])
        headers = {
            "Content-Type": manifests.OCTETS,
            "Content-Length": str(size_bytes),
            **await self._connection.authorization(scope),
        }
        joint = "&" if "?" in location else "?"
        url = f"{location}{joint}digest={digest}"
        try:
            done = await self._connection.http.put(url, headers=headers, content=chunks)
        except httpx.TransportError as error:
            raise problems.unreachable("Put", location.partition("?")[0], error) from error
        if done.status_code != httpx.codes.CREATED:
            raise problems.of_answer(done.status_code, done.content)

    async def mount(self, reference: Reference, digest: str, source: str) -> bool:
        """Let the repository have a blob of another one in the same registry, if that is possible.

        Raises:
            FlotillaError: If the registry refuses or is unreachable.
        """
        path = f"/v2/{reference.path}/blobs/uploads/?mount={digest}&from={source}"
        scope = f"{_push_scope(reference)} repository:{source}:pull"
        answer = await self._connection.request("POST", path, scope)
        if answer.status_code == httpx.codes.ACCEPTED:
            location = urljoin(str(answer.url), answer.headers["location"])
            await self._connection.http.delete(
                location, headers=await self._connection.authorization(scope)
            )
        return answer.status_code == httpx.codes.CREATED

    async def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> str:
        """Bring a manifest, whose blobs are there, under a tag or digest; returns its digest.

        Raises:
            FlotillaError: If the registry refuses or is unreachable.
        """
        path = f"/v2/{reference.path}/manifests/{reference.tag or reference.digest}"
        headers = {"Content-Type": media_type}
        answer = await self._connection.request(
            "PUT", path, _push_scope(reference), headers=headers, content=data
        )
        if not answer.is_success:
            raise problems.of_answer(answer.status_code, answer.content)
        return answer.headers.get("docker-content-digest") or digests.digest_of(data)

    async def get_json(self, path: str) -> httpx.Response:
        """Fetch something else of the registry, with its login.

        Raises:
            FlotillaError: If it is unreachable.
        """
        return await self._connection.request("GET", path, "")


@asynccontextmanager
async def opened(endpoint: Endpoint, login: Login) -> AsyncIterator[RegistryClient]:
    """Open a client of a registry that answers at this endpoint.

    Raises:
        FlotillaError: If it does not.
    """
    async with RegistryClient(RegistryConnection(endpoint, login)) as client:
        try:
            await client.ping()
        except httpx.TransportError as error:
            raise problems.unreachable("Get", f"{endpoint.url}/v2/", error) from error
        yield client


@asynccontextmanager
async def reached(endpoints: list[Endpoint], login: Login) -> AsyncIterator[RegistryClient]:
    """Open a client by the first endpoint that answers.

    Raises:
        FlotillaError: With the text of the last failure, if none does.
    """
    problem: FlotillaError | None = None
    for endpoint in endpoints:
        async with AsyncExitStack() as stack:
            try:
                client = await stack.enter_async_context(opened(endpoint, login))
            except FlotillaError as error:
                problem = error
                continue
            yield client
            return
    raise problem or InvalidArgumentError("no registry endpoint")


def _pull_scope(reference: Reference) -> str:
    return f"repository:{reference.path}:pull"


def _push_scope(reference: Reference) -> str:
    return f"repository:{reference.path}:pull,push"
