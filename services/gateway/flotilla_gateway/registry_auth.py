"""`X-Registry-Auth`: base64 of JSON, in any of the alphabets that clients use; never logged."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from starlette.requests import Request

from flotilla_bus.contracts.registry import Credentials

_FIELDS = {
    "username": "username",
    "password": "password",
    "identitytoken": "identity_token",
    "registrytoken": "registry_token",
    "serveraddress": "server_address",
}


def credentials_of(request: Request) -> Credentials:
    """Return the credentials of a request; none if the header is missing or cannot be read.

    dockerd ignores a header that it cannot read when it pulls: the pull is then anonymous.
    """
    return parse(request.headers.get("x-registry-auth", ""))


def parse(text: str) -> Credentials:
    """Read the header's value; nothing if it cannot be read."""
    return _credentials(_decoded(text))


def parse_map(text: str) -> dict[str, Credentials]:
    """Read `X-Registry-Config`: credentials by registry, Docker Hub as `docker.io`."""
    found = {}
    for server, value in _decoded(text).items():
        host = server.partition("://")[2] or server
        host = host.partition("/")[0]
        if isinstance(value, dict):
            found["docker.io" if host == "index.docker.io" else host] = _credentials(value)
    return found


def _decoded(text: str) -> dict[str, Any]:
    padded = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
    padded += "=" * (-len(padded) % 4)
    try:
        value = json.loads(base64.urlsafe_b64decode(padded) or b"{}")
    except (binascii.Error, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _credentials(value: dict[str, Any]) -> Credentials:
    fields = {
        field: found for name, field in _FIELDS.items() if isinstance(found := value.get(name), str)
    }
    if not fields.get("username") and isinstance(auth := value.get("auth"), str):
        fields |= _of_pair(auth)
    return Credentials.model_validate(fields)


def _of_pair(auth: str) -> dict[str, str]:
    try:
        username, _, password = base64.b64decode(auth).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return {}
    return {"username": username, "password": password}
