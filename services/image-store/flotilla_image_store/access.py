"""Who may use the HTTP endpoint: whoever knows the fleet's shared secret."""

import base64
import binascii
import hmac
from pathlib import Path

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flotilla_image_store.answers import failure


class SharedSecret:
    """ASGI middleware: `Bearer SECRET`, or Basic with the secret as password (skopeo, docker)."""

    def __init__(self, app: ASGIApp, secret_file: Path | None) -> None:
        """Guard the application; without a file everybody may use it."""
        self._app = app
        self._file = secret_file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass or answer 401."""
        if scope["type"] != "http" or self._file is None or self._knows(scope):
            await self._app(scope, receive, send)
            return
        answer: Response = failure(401, "UNAUTHORIZED", "authentication required")
        answer.headers["WWW-Authenticate"] = 'Basic realm="flotilla"'
        await answer(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        assert self._file is not None
        secret = self._file.read_text().strip()
        given = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
        kind, _, word = given.decode("latin-1").partition(" ")
        match kind.lower():
            case "bearer":
                offered = word.strip()
            case "basic":
                offered = _password(word.strip())
            case _:
                return False
        return bool(secret) and hmac.compare_digest(offered.encode(), secret.encode())


def _password(word: str) -> str:
    try:
        return base64.b64decode(word).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
