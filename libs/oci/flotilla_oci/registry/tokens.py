"""Authentication at registries: Basic, and Docker's tokens (distribution spec, auth/token)."""

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx

from flotilla_oci.registry import problems

_CHALLENGE = re.compile(r'([a-zA-Z][\w-]*)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_CLIENT = "docker"


@dataclass(frozen=True, repr=False)
class Login:
    """Who the client is; nobody if empty. It is never shown."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show to a registry."""
        return not (self.username or self.identity_token or self.registry_token)


@dataclass(frozen=True)
class Challenge:
    """What a registry wants to see."""

    scheme: str
    realm: str
    service: str = ""
    scope: str = ""


def challenges(header: str) -> list[Challenge]:
    """Read a `WWW-Authenticate` header; unknown schemes are left out."""
    found = []
    for part in re.split(r",\s*(?=(?:Bearer|Basic)\s)", header, flags=re.IGNORECASE):
        scheme, _, rest = part.strip().partition(" ")
        if scheme.lower() not in ("bearer", "basic"):
            continue
        values = {key.lower(): quoted or plain for key, quoted, plain in _CHALLENGE.findall(rest)}
        found.append(
            Challenge(
                scheme.lower(),
                values.get("realm", ""),
                values.get("service", ""),
                values.get("scope", ""),
            )
        )
    return found


@dataclass
class Authorizer:
    """Answers a registry's challenges for one login; keeps tokens by scope."""

    http: httpx.AsyncClient
    login: Login
    wanted: list[Challenge] = field(default_factory=list)
    _tokens: dict[str, str] = field(default_factory=dict)

    def adopt(self, other: "Authorizer") -> None:
        """Take over what another one of the same login has learnt."""
        self.wanted = list(other.wanted)
        self._tokens = dict(other._tokens)

    async def header(self, scope: str, *, renew: bool = False) -> str:
        """Return the `Authorization` header for a scope; nothing if none is wanted.

        Raises:
            RegistryError: If the token service refuses.
            FlotillaError: If it cannot be reached, or nobody is logged in where that is needed.
        """
        if self.login.registry_token:
            return f"Bearer {self.login.registry_token}"
        for challenge in self.wanted:
            if challenge.scheme == "bearer":
                if renew or scope not in self._tokens:
                    self._tokens[scope] = await self._token(challenge, scope)
                return f"Bearer {self._tokens[scope]}"
            if not self.login.username:
                raise problems.RegistryError("UNAUTHORIZED", "no basic auth credentials")
            return f"Basic {_pair(self.login)}"
        return ""

    async def _token(self, challenge: Challenge, scope: str) -> str:
        try:
            answer = await self._ask(challenge, scope)
        except httpx.TransportError as error:
            raise problems.unreachable("Get", challenge.realm, error) from error
        if answer.status_code != httpx.codes.OK:
            raise problems.of_answer(answer.status_code, answer.content)
        try:
            value = answer.json()
            token = value.get("token") or value.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str):
            raise problems.RegistryError("", "authorization server did not include a token")
        return token

    async def _ask(self, challenge: Challenge, scope: str) -> httpx.Response:
        if self.login.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": self.login.identity_token,
                "service": challenge.service,
                "client_id": _CLIENT,
                "access_type": "offline",
                "scope": scope,
            }
            return await self.http.post(challenge.realm, data=form)
        query = [("service", challenge.service)] if challenge.service else []
        query += [("scope", scope)] if scope else []
        headers = {}
        if self.login.username:
            query.append(("account", self.login.username))
            headers["Authorization"] = f"Basic {_pair(self.login)}"
        joint = "&" if "?" in challenge.realm else "?"
        return await self.http.get(f"{challenge.realm}{joint}{urlencode(query)}", headers=headers)


def _pair(login: Login) -> str:
    return base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
