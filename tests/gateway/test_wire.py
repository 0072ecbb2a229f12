"""Twin of flotilla_gateway's middleware.py, errors.py, query.py and routes/absent.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from flotilla_core.errors import InvalidArgumentError, Kind, error_of
from flotilla_gateway.dispatch import GroupDispatcher
from flotilla_gateway.errors import STATUS, add_handlers
from flotilla_gateway.middleware import EngineMiddleware
from flotilla_gateway.query import Query
from flotilla_gateway.routes import absent, system

Answer = tuple[int, dict[str, str], bytes]


def _scope(method: str, path: str, query: str = "") -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 2375),
        "client": ("127.0.0.1", 1),
        "root_path": "",
        "extensions": {},
    }


def _app() -> EngineMiddleware:
    app = FastAPI(openapi_url=None)
    own = APIRouter()

    @own.get("/seen")
    async def seen(request: Request) -> Response:
        version = request.scope["flotilla.api_version"]
        return Response(f"{version} {request.scope.get('flotilla.node')}")

    @own.get("/raise/{kind}")
    async def raising(kind: str) -> Response:
        raise error_of(Kind(kind), "words for the user")

    @own.get("/bug")
    async def bug() -> Response:
        raise ZeroDivisionError("secret detail")

    @own.get("/number")
    async def number(limit: int) -> Response:
        return Response(str(limit))

    add_handlers(app)
    routers = (own, system.router, absent.listing, absent.router)
    return EngineMiddleware(GroupDispatcher(app, routers))


async def _asked(path: str, method: str = "GET", query: str = "") -> Answer:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await _app()(_scope(method, path, query), receive, send)
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], headers, body


def _message(answer: Answer) -> Any:
    assert answer[1]["content-type"] == "application/json"
    return json.loads(answer[2])["message"]


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/seen", b"(1, 51) None"),
        ("/v1.24/seen", b"(1, 24) None"),
        ("/on/alpha/v1.41/seen", b"(1, 41) alpha"),
        ("/on/alpha/seen", b"(1, 51) alpha"),
        ("//seen", b"(1, 51) None"),
    ],
)
async def test_prefixes_say_the_version_and_the_node(path: str, seen: bytes) -> None:
    assert (await _asked(path))[2] == seen


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "/v1.52/seen",
            "client version 1.52 is too new. Maximum supported API version is 1.51",
        ),
        (
            "/v1.23/seen",
            "client version 1.23 is too old. Minimum supported API version is 1.24, please "
            "upgrade your client to a newer version",
        ),
        (
            "/v1/seen",
            "client version 1 is too old. Minimum supported API version is 1.24, please "
            "upgrade your client to a newer version",
        ),
    ],
)
async def test_a_version_out_of_range_is_400(path: str, text: str) -> None:
    answer = await _asked(path)
    assert (answer[0], _message(answer)) == (400, text)
    assert answer[1]["api-version"] == "1.51"


@pytest.mark.parametrize("kind", list(Kind))
async def test_every_kind_has_its_status(kind: Kind) -> None:
    answer = await _asked(f"/raise/{kind}")
    assert answer[0] == STATUS[kind]
    if kind is Kind.NOT_MODIFIED:
        assert answer[2] == b""
    else:
        assert _message(answer) == "words for the user"


async def test_a_bug_is_500_without_its_details() -> None:
    answer = await _asked("/bug")
    assert (answer[0], _message(answer)) == (500, "internal error")


async def test_a_wrong_parameter_is_400_naming_it() -> None:
    answer = await _asked("/number", query="limit=x")
    assert answer[0] == 400
    assert _message(answer).startswith("invalid limit: ")


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/nothing", 404, "page not found"),
        ("DELETE", "/_ping", 404, "page not found"),
        ("GET", "/swarm", 503, "This node is not a swarm manager."),
        ("POST", "/services/create", 503, "This node is not a swarm manager."),
        ("POST", "/swarm/init", 501, "swarm mode is not offered"),
        ("POST", "/plugins/pull", 501, "plugins are not offered"),
    ],
)
async def test_what_is_not_there_says_so(method: str, path: str, status: int, text: str) -> None:
    answer = await _asked(path, method)
    assert answer[0] == status
    assert _message(answer).startswith(text)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_ping_tells_what_clients_negotiate_by(method: str) -> None:
    status, headers, body = await _asked("/_ping", method)
    assert status == 200
    assert body == (b"OK" if method == "GET" else b"")
    assert headers["api-version"] == "1.51"
    assert headers["ostype"] == "linux"
    assert headers["docker-experimental"] == "false"
    assert headers["server"].startswith("Docker/")
    assert headers["swarm"] == "inactive"


@pytest.mark.parametrize(
    ("query", "flag"),
    [
        ("", False),
        ("x=", False),
        ("x=0", False),
        ("x=False", False),
        ("x=none", False),
        ("x=1", True),
        ("x=yes", True),
        ("x=whatever", True),
    ],
)
def test_flags_are_read_as_dockerd_reads_them(query: str, flag: bool) -> None:
    assert Query(Request(_scope("GET", "/", query))).flag("x") is flag


@pytest.mark.parametrize(
    ("given", "text"), [("", ""), ("x", "x"), ("1_0", "1_0"), ("%D9%A1", "\u0661"), ("+", " ")]
)
def test_numbers_that_are_none_are_refused_with_gos_text(given: str, text: str) -> None:
    query = Query(Request(_scope("GET", "/", f"h={given}")))
    with pytest.raises(InvalidArgumentError) as raised:
        query.integer("h")
    assert raised.value.message == f'strconv.Atoi: parsing "{text}": invalid syntax'
