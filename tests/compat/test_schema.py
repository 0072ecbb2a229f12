"""Every answer of the container and exec groups fits the specification, for clients of each age.

Go leaves pointers, lists and maps null where they are empty, so null is taken everywhere.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml
from jsonschema.exceptions import best_match

from flotilla_testing.clients import created, eventually
from flotilla_testing.fixtures import Docker

_VERSIONS = ("1.24", "1.41", "1.44", "1.51")
_SPECIFICATION = Path(__file__).parent / "spec" / "engine-api-v1.51.yaml"

# (method, path of the specification, query, body); {id} is a running container
_OPERATIONS: list[tuple[str, str, dict[str, str], Any]] = [
    ("GET", "/containers/json", {"all": "1", "size": "1"}, None),
    ("GET", "/containers/{id}/json", {"size": "1"}, None),
    ("GET", "/containers/{id}/top", {}, None),
    ("GET", "/containers/{id}/changes", {}, None),
    ("GET", "/containers/{id}/stats", {"stream": "0"}, None),
    ("POST", "/containers/create", {}, {"Image": "busybox", "Cmd": ["true"]}),
    ("POST", "/containers/{id}/update", {}, {"CpuShares": 512}),
    ("POST", "/containers/{id}/exec", {}, {"Cmd": ["true"]}),
    ("POST", "/containers/prune", {"filters": '{"label":["never-there"]}'}, None),
    ("GET", "/exec/{exec}/json", {}, None),
    ("GET", "/images/json", {}, None),
    ("GET", "/images/{image}/json", {}, None),
    ("GET", "/images/{image}/history", {}, None),
    ("GET", "/networks", {}, None),
    ("GET", "/networks/bridge", {}, None),
    ("GET", "/volumes", {}, None),
    ("GET", "/version", {}, None),
    ("GET", "/info", {}, None),
    ("GET", "/system/df", {}, None),
]


def _adapted(node: Any) -> Any:
    """Turn Swagger's schema into JSON schema, with Go's nulls."""
    if isinstance(node, list):
        return [_adapted(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: _adapted(value) for key, value in node.items() if key != "example"}
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
    if "enum" in schema and isinstance(schema["enum"], list):
        schema["enum"] = [*schema["enum"], "", None]
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    return schema


class Specification:
    """The specification's answers, by operation."""

    def __init__(self, text: str) -> None:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.paths: dict[str, Any] = document["paths"]
        self._definitions = _adapted(document["definitions"])

    def check(self, schema: Any, answer: Any) -> None:
        """Fail unless an answer fits."""
        root = {"definitions": self._definitions, "allOf": [_adapted(schema)]}
        error = best_match(jsonschema.Draft4Validator(root).iter_errors(answer))
        assert error is None, f"{error.json_path}: {error.message[:500]}"

    def check_answer(self, method: str, path: str, answer: httpx.Response) -> None:
        """Fail unless an operation may answer so."""
        if path == "/networks/bridge":
            path = "/networks/{id}"
        path = path.replace("{image}", "{name}").replace("{exec}", "{id}")
        allowed = self.paths[path][method.lower()]["responses"]
        assert str(answer.status_code) in {str(status) for status in allowed}, answer.text
        schema = {str(status): said for status, said in allowed.items()}[str(answer.status_code)]
        if "schema" in schema:
            self.check(schema["schema"], answer.json())

    def definition(self, name: str) -> Any:
        """Return a schema by its name."""
        return {"$ref": f"#/definitions/{name}"}


@pytest.fixture(scope="module")
def specification() -> Specification:
    return Specification(_SPECIFICATION.read_text())


@pytest.fixture(params=_VERSIONS)
def versioned(request: pytest.FixtureRequest, api: httpx.Client) -> str:
    """The beginning of a path of each version that the engine speaks."""
    version: str = request.param
    newest = api.get("/version").json()["ApiVersion"]
    if tuple(map(int, version.split("."))) > tuple(map(int, newest.split("."))):
        pytest.skip(f"the engine speaks {newest} at most")
    return f"/v{version}"


@pytest.fixture
def identifiers(api: httpx.Client, docker: Docker) -> dict[str, str]:
    """A busy container with all kinds of settings, an exec of it, and an image."""
    options = (
        "--health-cmd", "true", "--health-interval", "1s", "-v", "schema-v:/v", "-v", "/anon",
        "-p", "127.0.0.1::80", "--expose", "99", "--tmpfs", "/t", "--memory", "64m",
        "--label", "a=b", "--ulimit", "nofile=100", "--sysctl", "net.ipv4.ip_default_ttl=77",
    )  # fmt: skip
    run = ("run", "-d", "--name", "schema", *options, "busybox", "sleep", "1000")
    identifier = docker(*run).checked().out
    docker("exec", identifier, "touch", "/changed").checked()
    made = api.post(f"/containers/{identifier}/exec", json={"Cmd": ["true"]})
    created(api, {"Cmd": ["true"]}, "schema-created")
    docker("run", "--name", "schema-exited", "busybox", "sh", "-c", "exit 3")
    return {"id": identifier, "exec": made.json()["Id"], "image": "busybox"}


def test_answers_fit(
    api: httpx.Client,
    versioned: str,
    specification: Specification,
    identifiers: dict[str, str],
) -> None:
    wrong = []
    for method, path, query, body in _OPERATIONS:
        url = versioned + path.format_map(identifiers)
        answer = api.request(method, url, params=query, json=body)
        try:
            specification.check_answer(method, path, answer)
        except AssertionError as error:
            wrong.append(f"{method} {path}: {error}")
    assert not wrong, "\n\n".join(wrong)


def test_inspect_fits_in_every_state(
    api: httpx.Client,
    versioned: str,
    docker: Docker,
    specification: Specification,
    identifiers: dict[str, str],
) -> None:
    schema = specification.definition("ContainerInspectResponse")
    eventually(lambda: "healthy" in docker("ps", "--filter", "name=schema").stdout)
    for name in ("schema", "schema-created", "schema-exited"):
        specification.check(schema, api.get(f"{versioned}/containers/{name}/json").json())
    docker("pause", "schema").checked()
    specification.check(schema, api.get(f"{versioned}/containers/schema/json").json())


def test_events_fit(
    api: httpx.Client, versioned: str, specification: Specification, identifiers: dict[str, str]
) -> None:
    schema = specification.definition("EventMessage")
    query = {"since": "1", "filters": json.dumps({"container": [identifiers["id"]]})}
    seen = set()
    with api.stream("GET", f"{versioned}/events", params=query) as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            specification.check(schema, event)
            seen.add(event["Action"].partition(":")[0])
            if {"create", "start", "exec_create"} <= seen:
                break


def test_wait_and_errors_fit(
    api: httpx.Client, versioned: str, specification: Specification, identifiers: dict[str, str]
) -> None:
    answer = api.post(f"{versioned}/containers/schema-exited/wait")
    specification.check_answer("POST", "/containers/{id}/wait", answer)
    for path in ("/containers/none-such/json", "/images/none-such/json", "/nonsense"):
        answer = api.get(versioned + path)
        assert answer.status_code == 404
        specification.check(specification.definition("ErrorResponse"), answer.json())
