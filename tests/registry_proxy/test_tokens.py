"""A real registry that wants tokens, and the service that gives them."""

import base64
import datetime
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from flotilla_bus.contracts import registry as contract
from flotilla_core.errors import FlotillaError, Kind
from flotilla_oci.registry.tokens import Login
from flotilla_testing.registries import PASSWORD, USER, Registry, running_registry

from .conftest import Proxy, made, put

RIGHT = contract.Credentials(username=USER, password=SecretStr(PASSWORD))
WRONG = contract.Credentials(username=USER, password=SecretStr("wrong"))


class TokenService(http.server.ThreadingHTTPServer):
    """Signs tokens: pull of `public/…` for everybody, all for the one user."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
        now = datetime.datetime.now(datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def token(self, access: list[dict[str, object]]) -> str:
        """Return a signed token."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        now = int(time.time())
        claims = {
            "iss": "tokens",
            "sub": USER,
            "aud": "registry",
            "exp": now + 300,
            "nbf": now - 60,
            "iat": now,
            "jti": "1",
            "access": access,
        }
        signed = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_part(signature)}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: TokenService

    def do_GET(self) -> None:
        given = self.headers["Authorization"]
        right = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if given not in (None, f"Basic {right}"):
            self._answer(401, {"details": "incorrect username or password"})
            return
        access: list[dict[str, object]] = []
        for scope in parse_qs(urlsplit(self.path).query).get("scope", []):
            for one in scope.split():
                kind, name, actions = one.split(":")
                granted = actions.split(",") if given else ["pull"]
                if given or name.startswith("public/"):
                    access.append({"type": kind, "name": name, "actions": granted})
        self._answer(200, {"token": self.server.token(access)})

    def _answer(self, status: int, document: dict[str, str]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass(frozen=True)
class Guarded:
    """The registry, by its address."""

    registry: Registry

    def name(self, path: str) -> str:
        return f"{self.registry.address}/{path}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder: Path = tmp_path_factory.mktemp("token-registry")
    with TokenService() as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        pem = service.certificate.public_bytes(serialization.Encoding.PEM)
        (folder / "tokens.pem").write_bytes(pem)
        auth = (
            f"  token:\n    realm: http://127.0.0.1:{service.server_port}/token\n"
            f"    service: registry\n    issuer: tokens\n    rootcertbundle: {folder}/tokens.pem\n"
        )
        with running_registry(folder, auth=auth) as running:
            yield Guarded(running)
        service.shutdown()
        thread.join()


async def test_tokens_open_what_they_are_for(proxy: Proxy, guarded: Guarded) -> None:
    login = Login(USER, PASSWORD)
    public, private = guarded.name("public/app:1"), guarded.name("private/app:1")
    await put(proxy.hosts, public, made(b"public"), login=login)
    await put(proxy.hosts, private, made(b"private"), login=login)
    assert "Downloaded newer image" in (await proxy.pull(public))[-1]["status"]
    with pytest.raises(FlotillaError) as problem:
        await proxy.pull(private)
    name = guarded.name("private/app")
    assert problem.value.kind is Kind.NOT_FOUND or "unauthorized" in problem.value.message
    assert "denied" in problem.value.message or "unauthorized" in problem.value.message
    with pytest.raises(FlotillaError, match="incorrect username or password"):
        await proxy.pull(private, credentials=WRONG)
    lines = await proxy.pull(private, credentials=RIGHT)
    assert lines[-1]["status"] == f"Status: Downloaded newer image for {name}:1"


async def test_pushes_need_the_right_to_push(proxy: Proxy, guarded: Guarded) -> None:
    public = guarded.name("public/push:1")
    await put(proxy.hosts, public, made(b"x"), login=Login(USER, PASSWORD))
    await proxy.pull(public)
    target = guarded.name("public/other:1")
    await proxy.tag(public, target)
    refused = (await proxy.push(target))[-1]["error"]
    assert "denied" in refused or "unauthorized" in refused
    assert "error" not in (await proxy.push(target, credentials=RIGHT))[-1]


async def test_a_login_is_checked_by_the_token_service(proxy: Proxy, guarded: Guarded) -> None:
    server = {"server_address": f"http://{guarded.registry.address}/v2/"}
    right = contract.AuthRequest(credentials=RIGHT.model_copy(update=server))
    assert (await proxy.bus.call(contract.AUTH, right)).status == "Login Succeeded"
    wrong = contract.AuthRequest(credentials=WRONG.model_copy(update=server))
    with pytest.raises(FlotillaError, match="incorrect username or password") as problem:
        await proxy.bus.call(contract.AUTH, wrong)
    assert problem.value.kind is Kind.UNAUTHENTICATED
