"""Twin of flotilla_oci.registry: tokens, broken connections, hosts; against small HTTP servers."""

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_oci import references
from flotilla_oci.digests import digest_of
from flotilla_oci.references import Reference
from flotilla_oci.registry.client import reached
from flotilla_oci.registry.hosts import Endpoint, RegistryHosts, read_hosts
from flotilla_oci.registry.problems import of_answer
from flotilla_oci.registry.tokens import Login, challenges

BLOB = bytes(range(256)) * 4096


class FakeRegistry(http.server.ThreadingHTTPServer):
    """Wants tokens, which it gives to one user, and breaks downloads while told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.interruptions = 0
        self.honours_ranges = True
        self.scopes: list[str] = []
        self.accepted = "token-1"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def reference(self) -> Reference:
        return references.parse(f"127.0.0.1:{self.server_port}/some/app:1")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeRegistry

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/token":
            self._token(parse_qs(url.query))
        elif self.headers["Authorization"] != f"Bearer {self.server.accepted}":
            realm = f'Bearer realm="{self.server.url}/token",service="fake"'
            self._answer(401, b"{}", {"WWW-Authenticate": realm})
        elif url.path.endswith(digest_of(BLOB)):
            self._blob()
        else:
            error = {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}
            self._answer(404, json.dumps({"errors": [error]}).encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def _token(self, query: dict[str, list[str]]) -> None:
        right = base64.b64encode(b"user:secret").decode()
        if self.headers["Authorization"] != f"Basic {right}":
            self._answer(401, b'{"details": "incorrect username or password"}')
            return
        assert query["service"] == ["fake"]
        self.server.scopes += query.get("scope", [])
        self._answer(200, json.dumps({"token": self.server.accepted}).encode())

    def _blob(self) -> None:
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        start = start if self.server.honours_ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BLOB) - start))
        self.end_headers()
        rest = BLOB[start:]
        if self.server.interruptions:
            self.server.interruptions -= 1
            rest = rest[: len(rest) // 2]
            self.close_connection = True
        self.wfile.write(rest)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def fetched(registry: FakeRegistry, login: Login) -> bytes:
    async with reached([Endpoint(registry.url)], login) as client:
        chunks = [chunk async for chunk in client.blob(registry.reference, digest_of(BLOB))]
    return b"".join(chunks)


async def test_a_token_is_fetched_for_the_scope(registry: FakeRegistry) -> None:
    assert await fetched(registry, Login("user", "secret")) == BLOB
    assert registry.scopes == ["repository:some/app:pull"]


async def test_a_token_that_is_no_longer_good_is_renewed(registry: FakeRegistry) -> None:
    async with reached([Endpoint(registry.url)], Login("user", "secret")) as client:
        with pytest.raises(FlotillaError, match="manifest unknown: manifest unknown"):
            await client.manifest(registry.reference)
        registry.accepted = "token-2"
        with pytest.raises(FlotillaError, match="manifest unknown: manifest unknown"):
            await client.manifest(registry.reference)


async def test_a_wrong_password_is_told_without_it(registry: FakeRegistry) -> None:
    with pytest.raises(FlotillaError) as problem:
        await fetched(registry, Login("user", "wrong-password"))
    assert problem.value.message == "unauthorized: incorrect username or password"
    assert "wrong-password" not in repr(Login("user", "wrong-password"))


@pytest.mark.parametrize("honours_ranges", [True, False])
async def test_a_broken_download_is_taken_up(registry: FakeRegistry, honours_ranges: bool) -> None:
    registry.interruptions = 1
    registry.honours_ranges = honours_ranges
    assert await fetched(registry, Login("user", "secret")) == BLOB


def test_challenges_are_read() -> None:
    found = challenges('Bearer realm="https://a/t?x=1,2",service="s",scope="a:b:pull,push"')
    assert (found[0].realm, found[0].scope) == ("https://a/t?x=1,2", "a:b:pull,push")
    both = challenges('Basic realm="x", Bearer realm="y"')
    assert [one.scheme for one in both] == ["basic", "bearer"]
    assert challenges("Negotiate") == []


def test_answers_without_details_are_told_as_docker_tells_them() -> None:
    assert of_answer(500, b"").message == (
        "received unexpected HTTP status: 500 Internal Server Error"
    )
    assert of_answer(401, b"").message == "unauthorized: authentication required"
    many = json.dumps({"errors": [{"code": "DENIED"}, {"code": "UNAUTHORIZED"}]}).encode()
    assert of_answer(403, many).message == (
        "errors:\ndenied: requested access to the resource is denied\n"
        "unauthorized: authentication required\n"
    )


def test_hosts_are_read_as_dockerd_reads_them() -> None:
    hosts = RegistryHosts(insecure=("reg.lan:5000", "10.1.0.0/16"), mirrors=("https://m.lan/",))
    assert [one.url for one in hosts.endpoints("docker.io", with_mirrors=True)] == [
        "https://m.lan",
        "https://registry-1.docker.io",
    ]
    for insecure in ("localhost:5000", "127.0.0.1", "[::1]:5000", "reg.lan:5000", "10.1.2.3:1"):
        assert hosts.is_insecure(insecure), insecure
    for secure in ("reg.lan", "10.2.0.1", "docker.io"):
        assert not hosts.is_insecure(secure), secure
    schemes = [one.url for one in hosts.endpoints("localhost:5000", with_mirrors=True)]
    assert schemes == ["https://localhost:5000", "http://localhost:5000"]


def test_a_configuration_file_must_make_sense(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("hosts") / "daemon.json"
    path.write_text('{"insecure-registries": ["a:1"], "registry-mirrors": ["http://m"]}')
    hosts = read_hosts(path)
    assert (hosts.insecure, hosts.mirrors) == (("a:1",), ("http://m",))
    path.write_text('{"insecure-registries": "a:1"}')
    with pytest.raises(InvalidArgumentError, match="registry configuration"):
        read_hosts(path)
