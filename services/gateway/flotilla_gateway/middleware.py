"""What surrounds every request: the node view, the API version, dockerd's headers, the last net."""

from __future__ import annotations

import re

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flotilla_engine.versions import MAXIMUM, MINIMUM, Version, version_text
from flotilla_gateway.answers import json_response
from flotilla_gateway.errors import unexpected_response
from flotilla_gateway.version import ENGINE_VERSION

HEADERS = (
    ("Api-Version", version_text(MAXIMUM)),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"Docker/{ENGINE_VERSION} (linux)"),
)
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_VERSION = re.compile(r"/v([0-9.]+)(?=/)")
_SLASHES = re.compile(r"//+")
_NODE = re.compile(r"/on/([^/]+)(?=/)")


class EngineMiddleware:
    """Reads `/on/NODE` and `/v1.NN` off the path and adds the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        """Surround an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "websocket.close" and not started:
                started = True
                refusal = json_response({"message": "page not found"}, 404)
                await refusal(scope, receive, send_with_headers)
                return
            if message["type"] in _STARTS:
                started = True
                message["headers"] = [*message.get("headers", ()), *_RAW_HEADERS]
            await send(message)

        try:
            refusal = _prepare(scope)
            if refusal is not None:
                await refusal(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if started or scope["type"] != "http" or _is_hijacked(scope):
                raise
            await unexpected_response(error)(scope, receive, send_with_headers)


def _is_hijacked(scope: Scope) -> bool:
    return bool(scope.get("flotilla.hijacked"))


def _prepare(scope: Scope) -> Response | None:
    """Take the prefixes off the path; answer what is wrong with the version, if anything."""
    path: str = scope["path"]
    if "//" in path:
        path = _SLASHES.sub("/", path)
    version: Version = MAXIMUM
    if match := _NODE.match(path):
        scope["flotilla.node"] = match.group(1)
        path = path[match.end() :]
    if match := _VERSION.match(path):
        asked = _version(match.group(1))
        if asked < MINIMUM:
            return _refused(
                f"client version {match.group(1)} is too old. Minimum supported API version is "
                f"{version_text(MINIMUM)}, please upgrade your client to a newer version"
            )
        if asked > MAXIMUM:
            return _refused(
                f"client version {match.group(1)} is too new. Maximum supported API version is "
                f"{version_text(MAXIMUM)}"
            )
        version = asked
        path = path[match.end() :]
    scope["path"] = path
    scope["raw_path"] = path.encode()
    scope["flotilla.api_version"] = version
    return None


def _version(text: str) -> Version:
    """Read a version as moby's `versions.compare` does: what is missing or no number is 0."""
    parts = [int(part) if part and len(part) < 10 else 0 for part in text.split(".")]
    return parts[0], parts[1] if len(parts) > 1 else 0


def _refused(text: str) -> Response:
    return json_response({"message": text}, 400)
