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
    st.integers(min_value=-(2**70), max_value=2**70), st.floats(allow_nan=False, width=32)
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, _texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_texts, inner, max_size=3)
    ),
    max_leaves=6,
)


def _operations() -> list[tuple[str, str, list[str], list[str]]]:
    """Return method, path, names of query parameters and of the body's fields."""
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
            fields = sorted({name for schema in body for name in _fields(schema)})
            operations.append((method.upper(), path, query, fields))
    return operations


def _fields(schema: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return _fields(_SPECIFICATION["definitions"][schema["$ref"].rpartition("/")[2]])
    found = set(schema.get("properties", ()))
    for part in schema.get("allOf", ()):
        found |= _fields(part)
    return found


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes | Any]:
    """Make a request that is probably wrong."""
    method, path, names, fields = draw(st.sampled_from(_operations()))
    while "{" in path:
        before, _, rest = path.partition("{")
        value = draw(st.sampled_from(["none-such", "x"]) | _texts)
        path = before + quote(value, safe="") + rest.partition("}")[2]
    query = {name: draw(_texts) for name in names if draw(st.booleans())}
    body: bytes | Any = None
    if fields:
        names_or_other = st.sampled_from(fields) | _texts
        body = draw(st.binary(max_size=30) | st.dictionaries(names_or_other, _json, max_size=4))
    return method, path, query, body


@pytest.mark.timeout(0 if _COUNT > 1000 else 300)
def test_malformed_requests_are_refused_not_crashed_on(engine: Engine) -> None:
    if not engine.is_flotilla:
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
