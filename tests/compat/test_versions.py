"""What depends on the client's API version, and the headers that clients negotiate by."""

import httpx
import pytest

from flotilla_testing.clients import Start, created
from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_tells_what_clients_negotiate_by(api: httpx.Client, method: str) -> None:
    answer = api.request(method, "/_ping")
    assert answer.status_code == 200
    assert answer.text == ("OK" if method == "GET" else "")
    headers = answer.headers
    assert tuple(map(int, headers["Api-Version"].split("."))) >= (1, 40)
    assert headers["Ostype"] == "linux"
    assert headers["Docker-Experimental"] == "false"
    assert headers["Server"].endswith("(linux)")
    assert headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
    assert headers["Swarm"] == "inactive"


def test_versions_out_of_range_are_refused(api: httpx.Client) -> None:
    newest = api.get("/version").json()["ApiVersion"]
    old = api.get("/v1.12/containers/json")
    assert old.status_code == 400
    assert old.json()["message"].startswith("client version 1.12 is too old. Minimum supported API")
    new = api.get("/v1.99/containers/json")
    assert new.status_code == 400
    assert new.json() == {
        "message": f"client version 1.99 is too new. Maximum supported API version is {newest}"
    }


def test_errors_are_json_and_nothing_but(api: httpx.Client) -> None:
    answer = api.get("/no/such/path")
    assert (answer.status_code, answer.json()) == (404, {"message": "page not found"})
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["PATCH", "TRACE"])
def test_other_methods_are_not_there(api: httpx.Client, method: str) -> None:
    assert api.request(method, "/containers/json").status_code in (404, 405)


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [
        ("1.41", False, "raw-stream"),
        ("1.42", False, "multiplexed-stream"),
        ("1.42", True, "raw-stream"),
    ],
)
def test_streams_are_announced_by_version(
    api: httpx.Client, start: Start, version: str, tty: bool, kind: str
) -> None:
    identifier = start(*(("-t",) if tty else ()), command=("echo", "x"))
    answer = api.get(f"/v{version}/containers/{identifier}/logs", params={"stdout": "1"})
    assert answer.headers["Content-Type"] == f"application/vnd.docker.{kind}"


def test_one_network_only_before_1_44(api: httpx.Client, docker: Docker) -> None:
    docker("network", "create", "vn-one").checked()
    body = {
        "Image": "busybox",
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkingConfig": {"EndpointsConfig": {"bridge": {}, "vn-one": {}}},
    }
    old = api.post("/v1.43/containers/create", json=body)
    assert old.status_code == 400
    assert "multiple network endpoints" in old.json()["message"]
    assert api.post("/v1.44/containers/create", json=body).status_code == 201


def test_aliases_hold_the_short_id_before_1_45(api: httpx.Client, docker: Docker) -> None:
    docker("network", "create", "vn-two").checked()
    body = {
        "HostConfig": {"NetworkMode": "vn-two"},
        "NetworkingConfig": {"EndpointsConfig": {"vn-two": {"Aliases": ["al"]}}},
    }
    identifier = created(api, body)
    for version, aliases in (("1.44", ["al", identifier[:12]]), ("1.45", ["al"])):
        document = api.get(f"/v{version}/containers/{identifier}/json").json()
        assert document["NetworkSettings"]["Networks"]["vn-two"]["Aliases"] == aliases


def test_image_fields_by_version(api: httpx.Client) -> None:
    old = api.get("/v1.43/images/busybox/json").json()
    assert old["VirtualSize"] == old["Size"]
    assert "ContainerConfig" in old
    new = api.get("/v1.45/images/busybox/json").json()
    assert "VirtualSize" not in new
    assert "ContainerConfig" not in new


def test_bodies_must_be_json(engine: Engine, api: httpx.Client) -> None:
    answer = api.post(
        "/containers/create", content=b'{"Image":"busybox"}', headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 400
    assert "unsupported Content-Type header (text/plain)" in answer.json()["message"]
    for body, text in ((b"", "EOF"), (b"{", "invalid JSON"), (b"{}", "config cannot be empty")):
        answer = api.post(
            "/containers/create", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400
        assert text in answer.json()["message"]
