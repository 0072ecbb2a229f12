"""`docker ps` and its filters."""

import httpx
import pytest

from flotilla_testing.clients import created
from flotilla_testing.fixtures import Docker


@pytest.fixture
def fleet(docker: Docker) -> Docker:
    """Three containers named lf-up, lf-done (exit code 3) and lf-new, in this order."""
    labels = ("--label", "lf=1")
    docker(
        "run", "-d", "--name", "lf-up", *labels, "--label", "who=up", "-v", "lf-data:/data",
        "-p", "127.0.0.1::80", "--expose", "99", "busybox", "sleep", "1000",
    ).checked()  # fmt: skip
    docker("run", "--name", "lf-done", *labels, "busybox", "sh", "-c", "exit 3")
    docker("create", "--name", "lf-new", *labels, "--network", "none", "layered", "true").checked()
    return docker


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ((), "lf-done lf-new lf-up"),
        (("name=up",), "lf-up"),
        (("name=^/lf-u", "name=new"), "lf-new lf-up"),
        (("label=who",), "lf-up"),
        (("label=who=x",), ""),
        (("status=running",), "lf-up"),
        (("status=exited", "status=created"), "lf-done lf-new"),
        (("exited=3",), "lf-done"),
        (("before=lf-done",), "lf-up"),
        (("since=lf-done",), "lf-new"),
        (("ancestor=layered",), "lf-new"),
        (("ancestor=busybox:latest",), "lf-done lf-up"),
        (("volume=lf-data",), "lf-up"),
        (("volume=/data",), "lf-up"),
        (("network=none",), "lf-new"),
        (("network=bridge",), "lf-done lf-up"),
        (("publish=80",), ""),
        (("expose=99/tcp",), "lf-up"),
        (("health=none",), "lf-done lf-new lf-up"),
        (("is-task=true",), ""),
    ],
)
def test_filters(fleet: Docker, filters: tuple[str, ...], names: str) -> None:
    options = [option for value in ("label=lf", *filters) for option in ("--filter", value)]
    listed = fleet("ps", "-a", "--format", "{{.Names}}", *options).checked().lines
    assert " ".join(sorted(listed)) == names


def test_list_is_newest_first_and_limited(fleet: Docker) -> None:
    base = ("ps", "--format", "{{.Names}}", "--filter", "label=lf")
    assert fleet(*base, "-a").lines == ["lf-new", "lf-done", "lf-up"]
    assert fleet(*base).lines == ["lf-up"]
    assert fleet(*base, "-n", "2").lines == ["lf-new", "lf-done"]


def test_columns(fleet: Docker) -> None:
    template = "{{.Image}}|{{.Command}}|{{.Status}}|{{.Ports}}|{{.State}}|{{.Mounts}}|{{.Networks}}"
    line = fleet("ps", "--format", template, "--filter", "name=lf-up", "--no-trunc").out.split("|")
    assert line[0] == "busybox"
    assert line[1] == '"sleep 1000"'
    assert line[2].startswith("Up ")
    assert line[3].endswith("->80/tcp, 99/tcp") or line[3].startswith("99/tcp, 127.0.0.1:")
    assert line[4:] == ["running", "lf-data", "bridge"]


def test_sizes_are_there_when_asked_for(fleet: Docker, api: httpx.Client) -> None:
    fleet("exec", "lf-up", "sh", "-c", "head -c 100000 /dev/zero >/big").checked()
    query = {"size": "1", "filters": '{"name":["lf-up"]}'}
    sized = api.get("/containers/json", params=query).json()[0]
    assert sized["SizeRw"] >= 100_000
    assert sized["SizeRootFs"] > sized["SizeRw"]
    assert "SizeRootFs" not in api.get("/containers/json").json()[0]


@pytest.mark.parametrize(
    ("filters", "status", "message"),
    [
        ('{"nope":["x"]}', 400, "invalid filter 'nope'"),
        ('{"status":["x"]}', 400, "invalid filter 'status=x'"),
        ("{", 400, "invalid filter"),
        ('{"before":["lf-nope"]}', 404, "No such container: lf-nope"),
    ],
)
def test_wrong_filters(api: httpx.Client, filters: str, status: int, message: str) -> None:
    answer = api.get("/containers/json", params={"filters": filters})
    assert (answer.status_code, answer.json()) == (status, {"message": message})


def test_wrong_limit_is_400(api: httpx.Client) -> None:
    answer = api.get("/containers/json", params={"limit": "x"})
    assert answer.status_code in (400, 500)  # dockerd says 500
    assert 'parsing "x": invalid syntax' in answer.json()["message"]


def test_created_containers_are_listed_with_all_only(api: httpx.Client) -> None:
    identifier = created(api, {"Cmd": ["true"]})
    assert identifier not in [item["Id"] for item in api.get("/containers/json").json()]
    everything = api.get("/containers/json", params={"all": "1"}).json()
    (found,) = [item for item in everything if item["Id"] == identifier]
    assert (found["State"], found["Status"]) == ("created", "Created")
