"""Requests that are wrong in every way: an answer below 500, always, and the engine lives on.

`FLOTILLA_TEST_MALFORMED` says how many; paths and bodies are made from the specification.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flotilla_testing.engines import Engine

_COUNT = int(os.environ.get("FLOTILLA_TEST_MALFORMED", "150"))
_SPECIFICATION = yaml.load(
    (Path(__file__).parent / "spec" / "engine-api-v1.51.yaml").read_text(),
    Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),
)
_GROUPS = ("/containers", "/exec", "/networks", "/volumes", "/images", "/events", "/version")
_LEFT_OUT = {  # these change what other tests need, or answer without end
    ("POST", "/containers/prune"), ("POST", "/images/prune"), ("POST", "/networks/prune"),
    ("POST", "/volumes/prune"), ("GET", "/events"), ("GET", "/images/get"),
    ("DELETE", "/images/{name}"), ("POST", "/images/create"),
    ("GET", "/containers/{id}/attach/ws"), ("GET", "/images/search"),
    ("POST", "/images/{name}/push"), ("POST", "/build/prune"),
}  # fmt: skip

_texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "/", "..", "a" * 300, "%00", "sha256:x", "-1", "0", "1", "true", "{", "[]", "null",
         '{"name":["("]}', '{"label":{"a":1}}', "1h", "9" * 40, "\x00", "é", "🐳"]
    ),
)  # fmt: skip
_numbers = st.one_of(
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, _texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_texts, inner, max_size=3)
    ),
    max_leaves=6,
)


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its reference followed and its parts joined."""
    if "$ref" in schema:
        return _resolved(_SPECIFICATION["definitions"][schema["$ref"].rpartition("/")[2]])
    properties = dict(schema.get("properties", ()))
    for part in schema.get("allOf", ()):
        properties |= _resolved(part).get("properties", {})
    return {**schema, "properties": properties}


def _fitting(schema: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Make values of the right type, wrong only in what they say."""
    schema = _resolved(schema)
    if schema["properties"] and depth < 4:
        fields = {name: _fitting(field, depth + 1) for name, field in schema["properties"].items()}
        return st.fixed_dictionaries({}, optional=fields) if depth else _few(fields)
    match schema.get("type"):
        case "string":
            return st.sampled_from(schema["enum"]) | _texts if "enum" in schema else _texts
        case "integer":
            return st.integers(min_value=-(2**63), max_value=2**63 - 1) | st.integers(-2, 3)
        case "boolean":
            return st.booleans()
        case "array" if depth < 4:
            return st.lists(_fitting(schema.get("items", {}), depth + 1), max_size=2)
        case "object" if depth < 4:
            values = schema.get("additionalProperties")
            inner = _fitting(values, depth + 1) if isinstance(values, dict) else st.just({})
            return st.dictionaries(_texts, inner, max_size=2)
        case _:
            return _json


@st.composite
def _few(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True))
    return {name: draw(fields[name]) for name in names}


def _operations() -> list[tuple[str, str, list[str], list[dict[str, Any]]]]:
    """Return method, path, names of query parameters and the body's schema, if it has one."""
    operations = []
    for path, methods in _SPECIFICATION["paths"].items():
        if not path.startswith(_GROUPS):
            continue
        for method, operation in methods.items():
            if (method.upper(), path) in _LEFT_OUT:
                continue
            parameters = operation.get("parameters", [])
            query = [item["name"] for item in parameters if item["in"] == "query"]
            body = [item["schema"] for item in parameters if item["in"] == "body"]
            operations.append((method.upper(), path, query, body))
    return operations


_OPERATIONS = _operations()
_CREATE = [operation for operation in _OPERATIONS if operation[1] == "/containers/create"]


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes | Any]:
    """Make a request that is probably wrong; every third one creates a container."""
    method, path, names, schemas = draw(
        st.sampled_from(_OPERATIONS) | st.sampled_from(_OPERATIONS) | st.sampled_from(_CREATE)
    )
    is_create = path == "/containers/create"
    while "{" in path:
        before, _, rest = path.partition("{")
        value = draw(st.sampled_from(["none-such", "x"]) | _texts)
        path = before + quote(value, safe="") + rest.partition("}")[2]
    query = {name: draw(_texts) for name in names if draw(st.booleans())}
    body: bytes | Any = None
    for schema in schemas:
        fitting = _fitting(schema)
        body = draw(fitting | fitting | _json | st.binary(max_size=30))
        if is_create and isinstance(body, dict) and draw(st.booleans()):
            body["Image"] = "busybox"
            query = {}
    return method, path, query, body


@pytest.mark.timeout(0 if _COUNT > 1000 else 300)
def test_malformed_requests_are_refused_not_crashed_on(engine: Engine) -> None:
    if not engine.is_flotilla and "FLOTILLA_TEST_MALFORMED" not in os.environ:
        pytest.skip("dockerd answers 500 to some")
    with engine.api(timeout_s=20) as api:
        _campaign(api)
        assert api.get("/_ping").text == "OK"
        assert api.get("/containers/json").status_code == 200


def _campaign(api: httpx.Client) -> None:
    @settings(
        max_examples=_COUNT,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def one(request: tuple[str, str, dict[str, str], Any]) -> None:
        method, path, query, body = request
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        if body is None:
            content = {}
        headers = {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
        with api.stream(method, path, params=query, headers=headers, **content) as answer:
            if answer.status_code >= 500:
                text = answer.read().decode()
                assert answer.status_code == 501 or "swarm" in text, text[:300]

    one()
