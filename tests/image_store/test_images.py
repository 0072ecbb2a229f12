"""The image store over the bus: load, save, tag, remove, prune, history, import, commit."""

import gzip
import io
import json
import tarfile
from typing import Any

import pytest

from flotilla_bus.contracts import images as contract
from flotilla_bus.contracts.images import ContainerUse
from flotilla_core.errors import ConflictError, FlotillaError, InvalidArgumentError, NotFoundError
from flotilla_engine.config import ContainerConfig
from flotilla_testing.archives import Member, archive

from .conftest import Store, docker_archive, layer

BASE, TOP = layer("base", b"1" * 1000), layer("top", b"22")


async def resolve(store: Store, reference: str) -> contract.ImageAnswer:
    return await store.bus.call(contract.RESOLVE, contract.ImageRequest(reference=reference))


async def remove(
    store: Store, reference: str, *, force: bool = False, in_use: list[ContainerUse] | None = None
) -> list[str]:
    request = contract.RemoveRequest(reference=reference, force=force, in_use=in_use or [])
    answer = await store.bus.call(contract.REMOVE, request)
    return [line.untagged or line.deleted for line in answer.deleted]


async def test_what_was_loaded_is_found_by_name_and_id(store: Store) -> None:
    lines = await store.load(docker_archive(["a:1", "b:latest"], [BASE, TOP]))
    assert lines == [{"stream": "Loaded image: a:1\n"}, {"stream": "Loaded image: b:latest\n"}]
    image = (await resolve(store, "b")).image
    assert image.repo_tags == ["a:1", "b:latest"]
    assert image.repo_digests == []
    assert image.size_bytes == 1002
    assert image.config.cmd == ["sh"]
    for name in (image.id, image.id[7:], image.id[7:19], "docker.io/library/a:1"):
        assert (await resolve(store, name)).image.id == image.id
    for unknown, text in (
        ("nope", "No such image: nope:latest"),
        ("a:2", "No such image: a:2"),
        ("sha256:" + "0" * 64, "No such image: sha256:" + "0" * 64),
    ):
        with pytest.raises(NotFoundError) as problem:
            await resolve(store, unknown)
        assert problem.value.message == text
    with pytest.raises(InvalidArgumentError, match="must be lowercase"):
        await resolve(store, "Foo")
    assert store.events.actions() == ["load"]


async def test_loading_over_a_name_tells_what_lost_it(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE]))
    first = (await resolve(store, "a:1")).image.id
    lines = await store.load(gzip.compress(docker_archive(["a:1"], [BASE, TOP])))
    assert lines[0]["stream"] == (
        f"The image a:1 already exists, renaming the old one with ID {first} to empty string\n"
    )
    assert (await resolve(store, first)).image.repo_tags == []


async def test_an_archive_that_was_saved_loads_into_an_equal_image(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE, TOP]))
    await store.load(docker_archive(["b:1"], [BASE]))
    before = (await resolve(store, "a:1")).image
    saved = await store.save("a:1", "b")
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        names = tar.getnames()
        listing = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    assert "oci-layout" in names
    assert [entry["RepoTags"] for entry in listing] == [["a:1"], ["b:1"]]
    for name in ("a:1", "b:1"):
        await remove(store, name)
    assert store.blob_count() == 0
    await store.load(saved)
    after = (await resolve(store, "a:1")).image
    assert (after.id, after.size_bytes) == (before.id, before.size_bytes)
    assert await store.names() == ["a:1", "b:1"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"junk", "unexpected EOF"),
        (b"x" * 5000, "archive/tar: invalid tar header"),
        (archive(Member("f", b"1")), "invalid archive"),
        (archive(Member("manifest.json", b"[{}]")), "invalid manifest.json"),
    ],
)
async def test_what_is_no_archive_is_told_and_leaves_nothing(
    store: Store, data: bytes, text: str
) -> None:
    lines = await store.load(data)
    assert text in lines[-1]["error"]
    assert store.blob_count() == 0


async def test_a_layer_that_does_not_match_its_diff_id_is_refused(store: Store) -> None:
    good = docker_archive(["a:1"], [BASE])
    lines = await store.load(good.replace(b"1" * 1000, b"2" * 1000))
    assert "wrong diff id" in lines[-1]["error"]
    assert await store.names() == []
    assert store.blob_count() == 0


async def test_names_go_one_by_one_and_the_image_with_the_last(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE, TOP]))
    await store.load(docker_archive(["b:1"], [BASE]))
    await store.bus.call(contract.TAG, contract.TagRequest(source="a:1", target="c/d"))
    image = (await resolve(store, "a:1")).image
    with pytest.raises(ConflictError) as problem:
        await remove(store, image.id)
    assert problem.value.message == (
        f"conflict: unable to delete {image.id[7:19]} (must be forced) - image is referenced in "
        "multiple repositories"
    )
    assert await remove(store, "a:1") == ["a:1"]
    top = image.chain_ids()[1]
    assert await remove(store, "c/d") == ["c/d:latest", image.id, top]
    assert await store.names() == ["b:1"]
    assert await remove(store, "b:1", force=True) == [
        "b:1",
        (store.events.said[-1].actor.id),
        image.chain_ids()[0],
    ]
    assert store.blob_count() == 0
    assert store.events.actions() == [
        *("load", "load", "tag", "untag", "untag", "delete", "untag", "delete")
    ]


async def test_an_image_in_use_is_kept_in_dockerds_words(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE]))
    image = (await resolve(store, "a:1")).image
    short = image.id[7:19]
    running = [ContainerUse(container="c" * 64, image_id=image.id, running=True)]
    stopped = [ContainerUse(container="c" * 64, image_id=image.id, running=False)]
    with pytest.raises(ConflictError) as problem:
        await remove(store, "a:1", in_use=stopped)
    assert problem.value.message == (
        'conflict: unable to remove repository reference "a:1" (must force) - container '
        f"cccccccccccc is using its referenced image {short}"
    )
    with pytest.raises(ConflictError) as problem:
        await remove(store, short, force=True, in_use=running)
    assert problem.value.message == (
        f"conflict: unable to delete {short} (cannot be forced) - image is being used by running "
        "container cccccccccccc"
    )
    assert await remove(store, "a:1", force=True, in_use=running) == ["a:1"]
    with pytest.raises(ConflictError, match="must be forced"):
        await remove(store, short, in_use=stopped)
    assert (await remove(store, short, force=True, in_use=stopped))[0] == image.id


async def test_prune_removes_what_has_no_name_or_no_user(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE]))
    await store.load(docker_archive(["a:1"], [BASE, TOP]))
    dangling = contract.PruneRequest()
    answer = await store.bus.call(contract.PRUNE, dangling)
    assert [bool(line.deleted) for line in answer.deleted] == [True]
    assert answer.space_reclaimed_bytes == 0
    image = (await resolve(store, "a:1")).image
    use = [ContainerUse(container="c" * 64, image_id=image.id, running=False)]
    unused = contract.PruneRequest(filters={"dangling": ["false"]}, in_use=use)
    assert (await store.bus.call(contract.PRUNE, unused)).deleted == []
    unused = contract.PruneRequest(filters={"dangling": ["false"], "label!": ["made"]})
    assert (await store.bus.call(contract.PRUNE, unused)).deleted == []
    unused = contract.PruneRequest(filters={"dangling": ["false"]})
    answer = await store.bus.call(contract.PRUNE, unused)
    assert answer.space_reclaimed_bytes == 1002
    assert store.blob_count() == 0
    assert store.events.said[-1].actor.attributes == {"reclaimed": "1002"}


async def test_lists_are_filtered_as_dockerd_filters(store: Store) -> None:
    await store.load(docker_archive(["a/x:1", "b:1"], [BASE]))
    await store.load(docker_archive(["c:1"], [BASE, TOP], {"Labels": {"k": "v"}}))

    async def names(**filters: list[str]) -> list[list[str]]:
        request = contract.ListRequest(filters=filters)
        answer = await store.bus.call(contract.LIST, request)
        return sorted(one.image.repo_tags for one in answer.images)

    assert await names() == [["a/x:1", "b:1"], ["c:1"]]
    assert await names(reference=["b"]) == [["b:1"]]
    assert await names(reference=["*/x"]) == [["a/x:1"]]
    assert await names(reference=["*:1"]) == [["b:1"], ["c:1"]]
    assert await names(label=["k=v"]) == [["c:1"]]
    assert await names(dangling=["true"]) == []
    assert await names(until=["2020-01-01"]) == []
    with pytest.raises(InvalidArgumentError):
        await names(dangling=["perhaps"])
    request = contract.ListRequest(shared_size=True)
    answer = await store.bus.call(contract.LIST, request)
    assert {one.shared_size_bytes for one in answer.images} == {1000}


async def test_history_is_newest_first(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE, TOP]))
    request = contract.ImageRequest(reference="a:1")
    answer = await store.bus.call(contract.HISTORY, request)
    shown = [(entry.created_by, entry.size_bytes, entry.tags) for entry in answer.entries]
    assert shown == [("step 1", 2, ["a:1"]), ("step 0", 1000, [])]
    assert answer.entries[1].id == "<missing>"


async def test_platforms_are_checked(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE]))
    request = contract.ImageRequest(reference="a:1", platform="linux/arm64")
    with pytest.raises(NotFoundError, match="does not match the specified platform"):
        await store.bus.call(contract.RESOLVE, request)


async def test_a_root_file_system_is_imported(store: Store) -> None:
    request = contract.ImportRequest(
        repository="imp", message="why", changes=["CMD echo hi", "ENV a=b c='d e'"]
    )
    lines = await exchange(store, request, gzip.compress(BASE))
    image = (await resolve(store, "imp")).image
    assert lines == [{"status": image.id}]
    assert image.config.cmd == ["/bin/sh", "-c", "echo hi"]
    assert image.config.env == ["a=b", "c=d e"]
    assert image.comment == "why"
    assert "error" in (await exchange(store, contract.ImportRequest(), b"junk"))[-1]
    with pytest.raises(InvalidArgumentError, match="FOO is not a valid change command"):
        await exchange(store, contract.ImportRequest(changes=["FOO x"]), b"")


async def exchange(
    store: Store, request: contract.ImportRequest, data: bytes
) -> list[dict[str, Any]]:
    _, stream = await store.bus.open(contract.IMPORT, request)
    async with stream:
        await stream.write(data)
        await stream.write_eof()
        output = b""
        while chunk := await stream.read():
            output += chunk
    return [json.loads(line) for line in output.splitlines()]


async def test_a_commit_adds_a_layer_and_keeps_its_parent(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE]))
    base = (await resolve(store, "a:1")).image
    image = await commit(store, base.id, TOP)
    assert [one.diff_id for one in image.layers][:1] == [base.layers[0].diff_id]
    assert len(image.layers) == 2
    assert (image.parent, image.comment, image.author) == (base.id, "note", "me")
    assert image.repo_tags == ["com:1"]
    with pytest.raises(ConflictError, match="image has dependent child images"):
        await remove(store, base.id, force=True)
    assert await remove(store, "a:1") == ["a:1"]
    empty = await commit(store, image.id, bytes(10240))
    assert len(empty.layers) == 2


async def commit(store: Store, base: str, data: bytes) -> Any:
    request = contract.CommitRequest(
        base=base,
        repository="com",
        tag="1",
        author="me",
        comment="note",
        config=ContainerConfig(cmd=["x"]),
        created_by="sh -c x",
    )
    _, stream = await store.bus.open(contract.COMMIT, request)
    async with stream:
        await stream.write(data)
        await stream.write_eof()
        output = b""
        while chunk := await stream.read():
            output += chunk
    return contract.ImageAnswer.model_validate_json(output).image


async def test_what_is_pushed_is_compressed_once(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE, TOP]))
    request = contract.ManifestRequest(reference="a:1")
    first = await store.bus.call(contract.MANIFEST, request)
    media_types = {one["mediaType"] for one in json.loads(first.manifest)["layers"]}
    assert media_types == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}
    assert await store.bus.call(contract.MANIFEST, request) == first
    assert (await resolve(store, "a:1")).image.id == first.image.id
    await remove(store, "a:1")
    assert store.blob_count() == 0


async def test_tags_must_be_names(store: Store) -> None:
    await store.load(docker_archive(["a:1"], [BASE]))
    for target in ("sha256:abc", "x@sha256:" + "0" * 64, "X"):
        with pytest.raises(InvalidArgumentError):
            await store.bus.call(contract.TAG, contract.TagRequest(source="a:1", target=target))
    with pytest.raises(FlotillaError):
        await store.bus.call(contract.TAG, contract.TagRequest(source="b:1", target="c"))
