"""Questions to registries: is this login good, what is found by a word, what is behind a name."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from flotilla_bus.contracts.registry import (
    AuthAnswer,
    DistributionAnswer,
    SearchAnswer,
    SearchRequest,
)
from flotilla_core.errors import InternalError, InvalidArgumentError, UnauthenticatedError
from flotilla_engine.filters import Filters, invalid_filter
from flotilla_oci import images, manifests, references
from flotilla_oci.manifests import Index
from flotilla_oci.platforms import Platform
from flotilla_oci.references import DEFAULT_DOMAIN, Reference
from flotilla_oci.registry import problems
from flotilla_oci.registry.client import Fetched, reached
from flotilla_oci.registry.hosts import RegistryHosts
from flotilla_oci.registry.problems import RegistryError
from flotilla_oci.registry.tokens import Login

_HUB_HOSTS = ("", "index.docker.io", "docker.io", "registry-1.docker.io")
_MAX_CONFIG = 8 << 20


async def check_login(hosts: RegistryHosts, server: str, login: Login) -> AuthAnswer:
    """Try a login.

    Raises:
        UnauthenticatedError: If the registry does not accept it.
        FlotillaError: If the registry cannot be reached.
    """
    endpoints = hosts.endpoints(_domain(server), with_mirrors=False)
    async with reached(endpoints, login) as client:
        base = f"{client.url}/v2/"
        try:
            status = await client.check_login()
        except RegistryError as error:
            if error.code == "UNAUTHORIZED":
                raise UnauthenticatedError(f'Get "{base}": {error.message}') from error
            raise
    if status == HTTPStatus.OK:
        return AuthAnswer(status="Login Succeeded", identity_token=login.identity_token)
    phrase = HTTPStatus(status).phrase
    text = f"login attempt to {base} failed with status: {status} {phrase}"
    if status == HTTPStatus.UNAUTHORIZED:
        raise UnauthenticatedError(text)
    raise InternalError(text)


async def search(hosts: RegistryHosts, request: SearchRequest, login: Login) -> SearchAnswer:
    """Search a registry by Docker Hub's first protocol.

    Raises:
        FlotillaError: If the registry has no such search, or cannot be reached.
    """
    filters = Filters(request.filters)
    stars = _stars(filters)
    official = filters.flag("is-official", default=False) if "is-official" in filters else None
    if filters.flag("is-automated", default=False):
        return SearchAnswer(results=[])
    domain, term = _split(request.term)
    path = "/v1/search?" + urlencode({"q": term, "n": request.limit})
    async with reached(hosts.search_endpoints(domain), login) as client:
        answer = await client.get_json(path)
    if answer.status_code != HTTPStatus.OK:
        raise problems.RegistryError("", f"Unexpected status code {answer.status_code}")
    found: list[dict[str, Any]] = answer.json().get("results") or []
    return SearchAnswer(
        results=[
            {
                "star_count": int(one.get("star_count") or 0),
                "is_official": bool(one.get("is_official")),
                "name": str(one.get("name") or ""),
                "is_automated": False,
                "description": str(one.get("description") or ""),
            }
            for one in found
            if int(one.get("star_count") or 0) >= stars
            and (official is None or bool(one.get("is_official")) == official)
        ]
    )


async def inspect(hosts: RegistryHosts, reference: Reference, login: Login) -> DistributionAnswer:
    """Return the descriptor and the platforms behind a name.

    Raises:
        FlotillaError: If the registry refuses or cannot be reached.
    """
    endpoints = hosts.endpoints(reference.domain, with_mirrors=False)
    async with reached(endpoints, login) as client:
        fetched = await client.manifest(reference)
        parsed = manifests.parse(fetched.data, fetched.media_type)
        if isinstance(parsed, Index):
            known = [entry.platform for entry in parsed.manifests if entry.platform]
        else:
            raw = await client.read_blob(reference, parsed.config.digest, _MAX_CONFIG)
            known = [images.parse(raw).platform]
    return DistributionAnswer(
        descriptor=_descriptor(fetched, parsed.media_type),
        platforms=[_platform(platform) for platform in known],
    )


def _descriptor(fetched: Fetched, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": fetched.digest, "size": len(fetched.data)}


def _platform(platform: Platform) -> dict[str, Any]:
    fields = {"architecture": platform.architecture, "os": platform.os}
    return fields | ({"variant": platform.variant} if platform.variant else {})


def _domain(server: str) -> str:
    """Return the registry of a server's address, as `docker login` gives it."""
    host = urlsplit(server if "://" in server else f"https://{server}").netloc
    return DEFAULT_DOMAIN if host in _HUB_HOSTS else host


def _split(term: str) -> tuple[str, str]:
    if "://" in term:
        raise InvalidArgumentError(
            f"invalid repository name: repository name ({term}) should not have a scheme"
        )
    head, slash, rest = term.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        return references.parse(f"{head}/x").domain, rest
    return DEFAULT_DOMAIN, term


def _stars(filters: Filters) -> int:
    least = 0
    for text in filters.get("stars"):
        if not text.isdecimal():
            raise invalid_filter("stars", filters.get("stars"))
        least = max(least, int(text))
    return least
