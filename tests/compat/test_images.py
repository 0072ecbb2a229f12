"""Images through the docker CLI: load, save, tag, history, rmi, pull, push, import, commit."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker
from flotilla_testing.registries import PASSWORD, USER, Registry

pytestmark = pytest.mark.usefixtures("without_leftovers")

PREFIX = "it-images"


@pytest.fixture
def without_leftovers(engine: Engine) -> Iterator[None]:
    """Remove the names that a test gave to images."""
    before = names(engine)
    yield
    for name in names(engine) - before:
        engine.docker("rmi", "-f", name)


def names(engine: Engine) -> set[str]:
    """Return all tags."""
    shown = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").checked()
    return {line for line in shown.lines if "<none>" not in line}


def image_id(engine: Engine, name: str) -> str:
    """Return an image's id."""
    shown = engine.docker("image", "inspect", name, "--format", "{{.Id}}").checked()
    return shown.out


def test_list_and_inspect_agree(docker: Docker, engine: Engine) -> None:
    listed = docker("images", "--no-trunc", "--format", "{{.ID}}", "busybox").checked().out
    assert listed == image_id(engine, "busybox")
    document = json.loads(docker("image", "inspect", "busybox").checked().stdout)[0]
    assert document["RepoTags"] == ["busybox:latest"]
    assert document["RepoDigests"] == []
    assert document["Config"]["Cmd"] == ["sh"]
    assert document["RootFS"]["Type"] == "layers"
    for short in (listed[:19], listed[7:19], listed):
        assert image_id(engine, short) == listed


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("image", "inspect", "nope"), "No such image: nope:latest"),
        (("history", "nope"), "No such image: nope:latest"),
        (("rmi", "nope"), "No such image: nope:latest"),
        (("tag", "nope", "a:1"), "No such image: nope:latest"),
        (("tag", "busybox", "sha256:x"), "refusing to create an ambiguous tag"),
        (("images", "--filter", "nonsense=1"), "invalid filter 'nonsense'"),
        (("image", "inspect", "Nope"), "repository name (library/Nope) must be lowercase"),
    ],
)
def test_what_is_wrong_is_said(docker: Docker, arguments: tuple[str, ...], text: str) -> None:
    done = docker(*arguments)
    assert done.code == 1
    assert text in done.stderr


def test_a_name_comes_and_goes(docker: Docker, engine: Engine) -> None:
    docker("tag", "busybox", f"{PREFIX}/name:1").checked()
    docker("tag", "busybox", f"localhost:1/{PREFIX}").checked()
    assert {f"{PREFIX}/name:1", f"localhost:1/{PREFIX}:latest"} <= names(engine)
    gone = docker("rmi", f"{PREFIX}/name:1", f"localhost:1/{PREFIX}").checked().lines
    assert gone == [f"Untagged: {PREFIX}/name:1", f"Untagged: localhost:1/{PREFIX}:latest"]


def test_history_shows_the_steps(docker: Docker) -> None:
    shown = docker("history", "--no-trunc", "--format", "{{.ID}} {{.CreatedBy}}", "layered")
    ids = [line.split()[0] for line in shown.checked().lines]
    assert ids[0].startswith("sha256:")
    assert ids[1:] == ["<missing>"]


def test_filters_choose_images(docker: Docker) -> None:
    docker("tag", "layered", f"{PREFIX}/filtered:1").checked()

    def chosen(*filters: str) -> set[str]:
        options = [part for one in filters for part in ("--filter", one)]
        shown = docker("images", *options, "--format", "{{.Repository}}")
        return set(shown.checked().lines)

    assert chosen(f"reference={PREFIX}/*") == {f"{PREFIX}/filtered"}
    assert chosen(f"reference={PREFIX}/*:2") == set()
    assert "busybox" not in chosen("dangling=true")
    assert {"busybox", "layered"} <= chosen("dangling=false")


def test_a_saved_image_loads_again(docker: Docker, engine: Engine, tmp_path: Path) -> None:
    name = f"{PREFIX}/saved:1"
    archive = tmp_path / "image.tar"
    docker("run", "--name", "it-saved", "busybox", "sh", "-c", "echo kept >/kept").checked()
    docker("commit", "it-saved", name).checked()
    docker("rm", "it-saved").checked()
    before = image_id(engine, name)
    docker("save", "-o", str(archive), name).checked()
    with tarfile.open(archive) as tar:
        listing = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    assert listing[0]["RepoTags"] == [name]
    docker("rmi", name).checked()
    assert docker("load", "-i", str(archive)).checked().out.endswith(f"Loaded image: {name}")
    assert image_id(engine, name) == before
    assert docker("run", "--rm", name, "cat", "/kept").checked().out == "kept"


def test_what_is_no_archive_does_not_load(docker: Docker) -> None:
    done = docker("load", stdin=b"x" * 4096)
    assert done.code == 1
    assert "invalid tar header" in done.stderr


def test_a_container_becomes_an_image(docker: Docker) -> None:
    name = f"{PREFIX}/commit:1"
    script = "echo new >/new; rm /etc/layered; mkdir -p /data/deep"
    docker("run", "--name", "it-commit", "layered", "sh", "-c", script).checked()
    changes = ("-c", 'CMD ["cat", "/new"]', "-c", "ENV MADE=here", "-c", "LABEL a=b")
    docker("commit", "-m", "note", "-a", "me", *changes, "it-commit", name).checked()
    assert docker("run", "--rm", name).checked().out == "new"
    assert docker("run", "--rm", name, "ls", "/etc/layered").code != 0
    document = json.loads(docker("image", "inspect", name).checked().stdout)[0]
    assert (document["Comment"], document["Author"]) == ("note", "me")
    assert document["Config"]["Labels"]["a"] == "b"
    assert "MADE=here" in document["Config"]["Env"]
    assert len(document["RootFS"]["Layers"]) == 3
    wrong = docker("commit", "-c", "FROM x", "it-commit")
    assert wrong.code == 1
    assert "is not a valid change command" in wrong.stderr


def test_an_exported_container_is_imported(docker: Docker, tmp_path: Path) -> None:
    name = f"{PREFIX}/import:1"
    archive = tmp_path / "root.tar"
    docker("run", "--name", "it-export", "busybox", "sh", "-c", "echo over >/over").checked()
    docker("export", "-o", str(archive), "it-export").checked()
    docker("import", "-m", "note", "-c", "CMD cat /over", str(archive), name).checked()
    assert docker("run", "--rm", name).checked().out == "over"
    shown = docker("image", "inspect", name, "--format", "{{.Comment}} {{.Config.Cmd}}").checked()
    assert shown.out == "note [/bin/sh -c cat /over]"


def test_an_image_in_use_is_kept(docker: Docker, engine: Engine) -> None:
    docker("run", "--name", "it-own", "busybox", "touch", "/own").checked()
    name = f"{PREFIX}/used:1"
    docker("commit", "it-own", name).checked()
    docker("create", "--name", "it-user", name, "true").checked()
    refused = docker("rmi", name)
    assert refused.code == 1
    assert f'unable to remove repository reference "{name}" (must force)' in refused.stderr
    short = image_id(engine, name)[7:19]
    refused = docker("rmi", short)
    assert f"conflict: unable to delete {short} (must be forced)" in refused.stderr
    docker("rm", "it-user").checked()
    gone = docker("rmi", name).checked().lines
    assert gone[0] == f"Untagged: {name}"
    assert gone[1].startswith("Deleted: sha256:")


def test_an_image_of_a_running_container_cannot_go(docker: Docker, engine: Engine) -> None:
    docker("run", "-d", "--name", "it-runs", "busybox", "sleep", "1000").checked()
    own = image_id(engine, "busybox")
    refused = docker("rmi", "-f", own)
    assert refused.code == 1
    assert "image is being used by running container" in refused.stderr
    assert image_id(engine, "busybox") == own


def test_dangling_images_are_pruned(docker: Docker, engine: Engine) -> None:
    docker("run", "--name", "it-prune", "busybox", "touch", "/x").checked()
    label = ("-c", f"LABEL {PREFIX}=1")
    made = docker("commit", *label, "it-prune").checked().out
    docker("rm", "it-prune").checked()
    output = docker("image", "prune", "-f", "--filter", f"label={PREFIX}").checked().stdout
    assert made in output
    assert "Total reclaimed space:" in output
    assert docker("image", "inspect", made).code == 1


def test_push_and_pull(docker: Docker, engine: Engine, registry: Registry) -> None:
    name = f"{registry.address}/{PREFIX}:1"
    docker("tag", "layered", name).checked()
    pushed = docker("push", name).checked().lines
    assert pushed[0] == f"The push refers to repository [{registry.address}/{PREFIX}]"
    assert sum(line.endswith(": Pushed") for line in pushed) == 2
    digest = pushed[-1].split("digest: ")[1].split()[0]
    before = image_id(engine, name)
    repo_digest = f"{registry.address}/{PREFIX}@{digest}"
    shown = docker("image", "inspect", name, "--format", "{{.RepoDigests}}").checked()
    assert shown.out == f"[{repo_digest}]"
    assert sum(line.endswith(": Layer already exists") for line in docker("push", name).lines) == 2
    docker("rmi", name).checked()
    pulled = docker("pull", name).checked().lines
    assert pulled[0] == f"1: Pulling from {PREFIX}"
    assert pulled[-3:] == [
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {name}",
        name,
    ]
    assert docker("pull", name).checked().lines[-2] == f"Status: Image is up to date for {name}"
    assert image_id(engine, repo_digest) == before
    assert docker("run", "--rm", name, "cat", "/etc/layered").checked().out


def test_an_unknown_image_is_pulled_when_it_is_run(docker: Docker, registry: Registry) -> None:
    name = f"{registry.address}/{PREFIX}-run:1"
    docker("tag", "busybox", name).checked()
    docker("push", name).checked()
    docker("rmi", name).checked()
    done = docker("run", "--rm", name, "echo", "pulled").checked()
    assert done.out == "pulled"
    assert f"Unable to find image '{name}' locally" in done.stderr
    refused = docker("run", "--rm", f"{registry.address}/{PREFIX}-none:1", "true")
    assert refused.code == 125
    assert f"manifest for {registry.address}/{PREFIX}-none:1 not found" in refused.stderr


def test_a_private_registry(docker: Docker, basic_registry: Registry, tmp_path: Path) -> None:
    own = {"DOCKER_CONFIG": str(tmp_path)}
    name = f"{basic_registry.address}/{PREFIX}:1"
    docker("tag", "busybox", name).checked()
    assert "no basic auth credentials" in docker("push", name, env=own).stderr
    assert "no basic auth credentials" in docker("pull", name, env=own).stderr
    login = ("login", "-u", USER, "--password-stdin", basic_registry.address)
    wrong = docker(*login, stdin="wrong", env=own)
    assert wrong.code == 1
    assert "401 Unauthorized" in wrong.stderr
    assert "Login Succeeded" in docker(*login, stdin=PASSWORD, env=own).checked().stdout
    docker("push", name, env=own).checked()
    docker("pull", name, env=own).checked()


def test_refusals_have_the_right_status(api: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/images/nope/json", 404),
        ("GET", "/images/Nope/json", 400),
        ("POST", "/images/nope/tag?repo=a", 404),
        ("DELETE", "/images/nope", 404),
        ("GET", "/images/json?filters=x", 400),
        ("GET", "/images/nope/get", 404),
        ("POST", "/images/create?fromImage=Nope", 400),
        ("POST", "/images/create?fromImage=127.0.0.1:1/x&tag=1", 500),
        ("POST", "/commit?container=nope", 404),
    ):
        answer = api.request(method, path)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        assert answer.json()["message"]
