"""pytest fixtures that bring up what integration tests talk to; a plugin named in pyproject.toml.

The session's stack has two hosts. `FLOTILLA_TEST_ENGINE=unix:///path` puts another engine in its
place for tests that need no more than an engine (tests/compat).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from docker import DockerClient

from flotilla_testing import images
from flotilla_testing.engines import Engine, Result
from flotilla_testing.postgres import new_database, running_postgres
from flotilla_testing.registries import Registry, running_registry
from flotilla_testing.stacks import Stack, running_stack

Docker = Callable[..., Result]
_KEPT_NETWORKS = ("bridge", "host", "none")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a failing test up to three times, and soak tests only when asked for."""
    skip = pytest.mark.skip(reason="a long campaign: FLOTILLA_SOAK=1 runs it")
    reruns = int(os.environ.get("FLOTILLA_TEST_RERUNS", "2"))
    for item in items:
        item.add_marker(pytest.mark.flaky(reruns=reruns))
        if item.get_closest_marker("soak") and not os.environ.get("FLOTILLA_SOAK"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images as `docker save` tars: busybox.tar and layered.tar."""
    folder = tmp_path_factory.mktemp("images")
    images.write_busybox(folder / "busybox.tar")
    images.write_layered(folder / "layered.tar")
    return folder


def load_images(engine: Engine, folder: Path) -> None:
    """Load the test images into an engine."""
    for name in ("busybox", "layered"):
        engine.docker("load", "--input", str(folder / f"{name}.tar")).checked()


@pytest.fixture(scope="session")
def stack(image_folder: Path) -> Iterator[Stack]:
    """A stack with two hosts and the test images, for the whole session."""
    with running_stack(hosts=2) as running:
        load_images(running.engine, image_folder)
        yield running


@pytest.fixture(scope="session")
def shared_engine(request: pytest.FixtureRequest, image_folder: Path) -> Engine:
    """The engine under test, with the test images; tests use `engine`."""
    other = os.environ.get("FLOTILLA_TEST_ENGINE")
    if other:
        engine = Engine(other, is_flotilla=False)
        load_images(engine, image_folder)
        return engine
    running: Stack = request.getfixturevalue("stack")
    return running.engine


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    """The engine under test; what the test leaves in it is removed afterwards."""
    with shared_engine.api() as api:
        before = _objects(api)
        yield shared_engine
        _remove_new(api, before)


@pytest.fixture
def docker(engine: Engine) -> Docker:
    """Runs the docker CLI against the engine: `docker("run", "--rm", "busybox", "true")`."""
    return engine.docker


@pytest.fixture
def api(engine: Engine) -> Iterator[httpx.Client]:
    """The raw HTTP API."""
    with engine.api() as client:
        yield client


@pytest.fixture
def client(engine: Engine) -> Iterator[DockerClient]:
    """docker-py's client."""
    made = engine.client()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """An empty registry on the loopback interface."""
    with running_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def basic_registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry that wants user `user` with password `secret`."""
    with running_registry(tmp_path / "basic-registry", basic_auth=True) as running:
        yield running


def _objects(api: httpx.Client) -> dict[str, set[str]]:
    containers = api.get("/containers/json", params={"all": "true"}).json()
    networks = api.get("/networks").json()
    volumes = api.get("/volumes").json().get("Volumes") or []
    return {
        "containers": {container["Id"] for container in containers},
        "networks": {net["Id"] for net in networks if net["Name"] not in _KEPT_NETWORKS},
        "volumes": {volume["Name"] for volume in volumes},
    }


def _remove_new(api: httpx.Client, before: dict[str, set[str]]) -> None:
    with suppress(httpx.HTTPError):
        after = _objects(api)
        for identifier in after["containers"] - before["containers"]:
            api.delete(f"/containers/{identifier}", params={"force": "true", "v": "true"})
        for identifier in after["networks"] - before["networks"]:
            api.delete(f"/networks/{identifier}")
        for name in _objects(api)["volumes"] - before["volumes"]:
            api.delete(f"/volumes/{name}", params={"force": "true"})


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """A PostgreSQL server for the session; tests use `postgres_url`."""
    with running_postgres() as folder:
        yield folder


@pytest.fixture
def postgres_url(postgres_server: Path) -> str:
    """An empty PostgreSQL database, as a URL for SQLAlchemy."""
    return new_database(postgres_server)
