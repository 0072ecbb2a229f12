"""A connection to one registry for one login: requests that are let in, bounded answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import httpx

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci.registry import problems
from flotilla_oci.registry.hosts import Endpoint
from flotilla_oci.registry.tokens import Authorizer, Login, challenges

_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_MAX_ANSWER = 8 << 20
_AGENT = "docker/28.3.3 flotilla"


class RegistryConnection:
    """Sends requests to a registry, with what it wants to see; an async context manager."""

    def __init__(self, endpoint: Endpoint, login: Login) -> None:
        """Talk to the registry at this endpoint."""
        self.endpoint = endpoint
        verify: bool | str = endpoint.verify
        if endpoint.verify and endpoint.ca_file:
            verify = endpoint.ca_file
        self.http = httpx.AsyncClient(
            verify=verify,
            timeout=_TIMEOUT,
            follow_redirects=True,
            headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"},
        )
        self._authorizer = Authorizer(self.http, login)

    async def __aenter__(self) -> Self:
        """Open the connections."""
        await self.http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.http.__aexit__(kind, error, trace)

    def sibling(self) -> "RegistryConnection":
        """Return another one, not yet open, that is let in as this one is."""
        other = RegistryConnection(self.endpoint, self._authorizer.login)
        other._authorizer.adopt(self._authorizer)
        return other

    async def ping(self) -> None:
        """Learn whether this is a registry, and what it wants to see.

        Raises:
            httpx.TransportError: If it cannot be reached, for the caller to try another way.
            RegistryError: If it is none.
        """
        answer = await self.http.get(self.url("/v2/"))
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            header = ",".join(answer.headers.get_list("www-authenticate"))
            self._authorizer.wanted = challenges(header)
        elif answer.status_code >= 500:
            raise problems.of_answer(answer.status_code, answer.content)

    async def check_login(self) -> int:
        """Try the login; returns the status of the registry's base with it.

        Raises:
            RegistryError: If the token service refuses.
        """
        answer = await self.http.get(self.url("/v2/"), headers=await self.authorization(""))
        return answer.status_code

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"{self.endpoint.url}{path}"

    async def authorization(self, scope: str, *, renew: bool = False) -> dict[str, str]:
        """Return the headers that let a request in; none where none is wanted.

        Raises:
            FlotillaError: If nobody is let in.
        """
        value = await self._authorizer.header(scope, renew=renew)
        return {"Authorization": value} if value else {}

    async def request(
        self,
        method: str,
        path: str,
        scope: str,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """Send a request and return the whole answer.

        Raises:
            FlotillaError: If the registry is unreachable, lets nobody in, or says too much.
        """
        url = self.url(path)
        for renew in (False, True):
            try:
                authorization = await self.authorization(scope, renew=renew)
            except problems.RegistryError as error:
                if error.message == "no basic auth credentials":
                    text = f'{method.capitalize()} "{url}": {error.message}'
                    raise problems.RegistryError(error.code, text) from error
                raise
            merged = (headers or {}) | authorization
            try:
                async with self.http.stream(method, url, headers=merged, content=content) as opened:
                    answer = await _whole(opened)
            except httpx.TransportError as error:
                raise problems.unreachable(method.capitalize(), url, error) from error
            if answer.status_code != httpx.codes.UNAUTHORIZED or renew:
                return answer
            self._learn(answer)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def stream(
        self, path: str, scope: str, headers: dict[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """Fetch something large: give an answer whose body is still to be read.

        Raises:
            httpx.TransportError: If the registry is unreachable.
            FlotillaError: If it refuses.
        """
        for renew in (False, True):
            merged = headers | await self.authorization(scope, renew=renew)
            async with self.http.stream("GET", self.url(path), headers=merged) as answer:
                if answer.status_code == httpx.codes.UNAUTHORIZED and not renew:
                    self._learn(answer)
                    continue
                if not answer.is_success:
                    raise problems.of_answer(answer.status_code, (await _whole(answer)).content)
                yield answer
                return

    def _learn(self, answer: httpx.Response) -> None:
        header = ",".join(answer.headers.get_list("www-authenticate"))
        if header:
            self._authorizer.wanted = challenges(header)


async def _whole(answer: httpx.Response) -> httpx.Response:
    """Return the answer with its body, unless that is too large: httpx itself knows no bound."""
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > _MAX_ANSWER:
            raise InvalidArgumentError(f"the answer of {answer.url.host} is too large")
    return httpx.Response(
        answer.status_code, headers=answer.headers, content=bytes(content), request=answer.request
    )
