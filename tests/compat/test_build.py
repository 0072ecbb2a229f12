"""`docker build` with the classic builder, through the docker CLI and docker-py."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import DockerClient
from docker.errors import BuildError

from flotilla_testing.engines import Engine, Result

pytestmark = pytest.mark.usefixtures("without_builds")

PREFIX = "it-build"


@pytest.fixture
def without_builds(engine: Engine) -> Iterator[None]:
    """Remove what tests have built."""
    yield
    shown = engine.docker("images", "-q", "--filter", f"reference={PREFIX}*")
    for name in set(shown.lines):
        engine.docker("rmi", "-f", name)
    engine.docker("image", "prune", "-f")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A context with files, a folder and a link."""
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("one\n")
    (folder / "sub" / "b.txt").write_text("two\n")
    (folder / "sub" / "link").symlink_to("b.txt")
    return folder


def build(engine: Engine, context: Path, dockerfile: str, *options: str) -> Result:
    """Build with the classic builder."""
    (context / "Dockerfile").write_text(dockerfile)
    own = {"DOCKER_BUILDKIT": "0"}
    return engine.docker("build", *options, "-t", f"{PREFIX}:1", str(context), env=own)


def test_a_dockerfile_becomes_an_image(engine: Engine, context: Path) -> None:
    done = build(
        engine,
        context,
        "ARG BASE=nothing\n"
        "FROM ${BASE} AS first\n"
        "ARG WHO=nobody\n"
        "# a comment\n"
        "RUN echo hello $WHO >/hello && \\\n"
        "    cat /hello\n"
        "WORKDIR /work\n"
        "COPY sub .\n"
        "FROM busybox\n"
        "COPY --from=first /hello /deep/hello\n"
        "COPY --from=first /work /w/\n"
        "COPY --chown=1000 a.txt /own/\n"
        'ENV A=1 B="two words"\n'
        'ENTRYPOINT ["sh", "-c"]\n'
        'CMD ["cat /deep/hello; echo $A $B"]\n',
        *("--no-cache", "--build-arg", "BASE=busybox", "--build-arg", "WHO=you", "--label", "l=1"),
    ).checked()
    assert "Step 2/14 : FROM ${BASE} AS first" in done.lines
    assert "hello you" in done.lines
    assert done.lines[-1] == f"Successfully tagged {PREFIX}:1"
    run = engine.docker("run", "--rm", f"{PREFIX}:1").checked()
    assert run.lines == ["hello you", "1 two words"]
    script = "cat /w/b.txt; readlink /w/link; stat -c %u:%a /own/a.txt; stat -c %a /deep"
    listed = engine.docker("run", "--rm", f"{PREFIX}:1", script).checked()
    assert listed.lines == ["two", "b.txt", "1000:644", "755"]
    document = json.loads(engine.docker("image", "inspect", f"{PREFIX}:1").checked().stdout)[0]
    assert document["Config"]["Labels"] == {"l": "1"}


def test_equal_steps_come_from_earlier_builds(engine: Engine, context: Path) -> None:
    dockerfile = (
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/when\nCOPY a.txt /\nCMD cat /when\n"
    )
    first = build(engine, context, dockerfile).checked()
    assert "Using cache" not in first.stdout
    when = engine.docker("run", "--rm", f"{PREFIX}:1").checked().out
    second = build(engine, context, dockerfile).checked()
    assert second.stdout.count(" ---> Using cache") == 3
    (context / "a.txt").write_text("changed\n")
    third = build(engine, context, dockerfile).checked()
    assert third.stdout.count(" ---> Using cache") == 1
    assert engine.docker("run", "--rm", f"{PREFIX}:1").checked().out == when
    build(engine, context, dockerfile, "--no-cache").checked()
    assert engine.docker("run", "--rm", f"{PREFIX}:1").checked().out != when


@pytest.mark.parametrize(
    ("dockerfile", "text"),
    [
        ("FROM busybox\nNOPE x\n", "dockerfile parse error on line 2: unknown instruction: NOPE"),
        (
            "FROM busybox\nRUN exit 3\n",
            "The command '/bin/sh -c exit 3' returned a non-zero code: 3",
        ),
        ("FROM busybox\nCOPY none /\n", "file not found in build context or excluded"),
        ("FROM busybox\nRUN --mount=type=cache,target=/x true\n", "requires BuildKit"),
        ("RUN true\n", "no build stage in current context"),
    ],
)
def test_a_build_fails_in_dockerds_words(
    engine: Engine, context: Path, dockerfile: str, text: str
) -> None:
    done = build(engine, context, dockerfile, "--force-rm")
    assert done.code != 0
    assert text in done.stderr


def test_a_target_stage_can_be_chosen(engine: Engine, context: Path) -> None:
    dockerfile = "FROM busybox AS a\nCMD echo a\nFROM busybox AS b\nCMD echo b\n"
    build(engine, context, dockerfile, "--target", "a").checked()
    assert engine.docker("run", "--rm", f"{PREFIX}:1").checked().out == "a"


def test_docker_py_builds(client: DockerClient) -> None:
    image, _ = client.images.build(
        fileobj=io.BytesIO(b"FROM busybox\nCMD echo built\n"), tag=f"{PREFIX}:py"
    )
    assert client.containers.run(image, remove=True) == b"built\n"
    with pytest.raises(BuildError, match="non-zero code: 7"):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 7\n"), forcerm=True)
