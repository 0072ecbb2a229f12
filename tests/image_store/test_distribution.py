"""Twin of flotilla_image_store.distribution: the registry's protocol, without a socket."""

import asyncio
import errno
import gzip
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from flotilla_bus.contracts import images as contract
from flotilla_database import migrated, opened
from flotilla_gateway import catalogue
from flotilla_image_store.app import opened_images
from flotilla_image_store.distribution import Distribution
from flotilla_oci import manifests, references
from flotilla_oci.digests import digest_of
from flotilla_oci.manifests import Descriptor, Manifest
from flotilla_server.http import Listener, serving
from flotilla_testing.archives import Member, archive

from .conftest import KeptEvents, Store, docker_archive, layer

SECRET = {"Authorization": "Bearer sesame"}
BLOB = os.urandom(3 << 20)


@pytest.fixture
async def http(store: Store, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    secret = tmp_path / "secret"
    secret.write_text("sesame\n")
    distribution = Distribution(store.images)
    transport = httpx.ASGITransport(distribution.application(secret))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://store", headers=SECRET
    ) as client:
        yield client
    await distribution.close()


async def upload(http: httpx.AsyncClient, data: bytes, digest: str = "") -> httpx.Response:
    begun = await http.post("/v2/fleet/blobs/uploads/")
    assert begun.status_code == 202
    location = begun.headers["location"]
    half = len(data) // 2
    for part in (data[:half], data[half:]):
        assert (await http.patch(location, content=part)).status_code == 202
    return await http.put(f"{location}?digest={digest or digest_of(data)}")


async def test_only_who_knows_the_secret_is_let_in(http: httpx.AsyncClient) -> None:
    for given, status in (
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer other"}, 401),
        ({"Authorization": "Basic ZmxlZXQ6c2VzYW1l"}, 200),
        ({"Authorization": "Basic ZmxlZXQ6b3RoZXI="}, 401),
        (SECRET, 200),
    ):
        assert (await http.get("/v2/", headers=given)).status_code == status


async def test_uploads_given_up_without_a_word_make_room(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flotilla_image_store.distribution._MAX_UPLOADS", 2)
    for _ in range(2):
        assert (await http.post("/v2/fleet/blobs/uploads/")).status_code == 202
    assert (await http.post("/v2/fleet/blobs/uploads/")).status_code == 429
    monkeypatch.setattr("flotilla_image_store.distribution._IDLE_S", 0)
    assert (await http.post("/v2/fleet/blobs/uploads/")).status_code == 202


async def test_a_full_disk_is_told(
    http: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    done = await upload(http, b"some content")
    assert done.status_code == 500
    assert done.json()["errors"][0]["message"] == "image store: no space left on device"
    assert list((store.folder / "uploads").iterdir()) == []
    loaded = await store.load(docker_archive(["full:1"], [layer("file")]))
    assert loaded[-1]["error"] == "image store: no space left on device"


@pytest.mark.parametrize("size", ["-1024", "many"])
async def test_an_archive_with_impossible_sizes_is_no_layer(
    http: httpx.AsyncClient, store: Store, size: str
) -> None:
    data = archive(Member("x", pax={"size": size}))
    async with asyncio.timeout(30):
        assert (await upload(http, data)).status_code == 201
    async with store.images.database.reading() as reading:
        assert await reading.layers([digest_of(data)]) == {}


async def test_a_blob_comes_in_pieces_and_goes_in_ranges(http: httpx.AsyncClient) -> None:
    digest = digest_of(BLOB)
    assert (await http.head(f"/v2/fleet/blobs/{digest}")).status_code == 404
    done = await upload(http, BLOB)
    assert done.status_code == 201
    assert done.headers["docker-content-digest"] == digest
    whole = await http.get(f"/v2/other/blobs/{digest}")
    assert whole.content == BLOB
    part = await http.get(f"/v2/fleet/blobs/{digest}", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, BLOB[100:200])
    rest = await http.get(f"/v2/fleet/blobs/{digest}", headers={"Range": f"bytes={3 << 19}-"})
    assert rest.content == BLOB[3 << 19 :]
    beyond = await http.get(f"/v2/fleet/blobs/{digest}", headers={"Range": "bytes=99999999-"})
    assert beyond.status_code == 416
    mounted = await http.post(f"/v2/x/blobs/uploads/?mount={digest}&from=fleet")
    assert mounted.status_code == 201


async def test_a_blob_with_another_digest_never_becomes_visible(
    http: httpx.AsyncClient, store: Store
) -> None:
    wrong = digest_of(b"other")
    refused = await upload(http, BLOB, wrong)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] == "DIGEST_INVALID"
    assert (await http.head(f"/v2/fleet/blobs/{wrong}")).status_code == 404
    assert store.blob_count() == 0
    assert (await http.put("/v2/fleet/blobs/uploads/nothing?digest=" + wrong)).status_code == 404
    assert (await http.get("/v2/fleet/blobs/sha256:short")).status_code == 400


async def test_an_upload_can_be_given_up(http: httpx.AsyncClient, store: Store) -> None:
    location = (await http.post("/v2/fleet/blobs/uploads/")).headers["location"]
    await http.patch(location, content=b"abc")
    progress = await http.get(location)
    assert progress.headers["range"] == "0-2"
    assert (await http.delete(location)).status_code == 204
    assert not list((store.folder / "uploads").iterdir())


async def test_an_image_is_pushed_and_pulled(http: httpx.AsyncClient, store: Store) -> None:
    plain = layer("file")
    packed = gzip.compress(plain)
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(plain)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest_of(config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": digest_of(packed),
                    "size": len(packed),
                }
            ],
        }
    ).encode()
    path = "/v2/tools/app/manifests/1"
    kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    assert (await http.put(path, content=manifest, headers=kind)).status_code == 404
    for blob in (packed, config):
        assert (await upload(http, blob)).status_code == 201
    assert (await http.put(path, content=manifest, headers=kind)).status_code == 201
    assert await store.names() == ["tools/app:1"]
    got = await http.get(path)
    assert got.content == manifest
    assert got.headers["content-type"].startswith(kind["Content-Type"])
    by_digest = await http.get(f"/v2/tools/app/manifests/{digest_of(manifest)}")
    assert by_digest.content == manifest
    assert (await http.get("/v2/tools/app/tags/list")).json()["tags"] == ["1"]
    assert (await http.get("/v2/tools/none/tags/list")).status_code == 404
    assert "docker.io/tools/app" in (await http.get("/v2/_catalog")).json()["repositories"]


async def test_unused_blobs_go_but_never_under_an_upload_or_an_image(
    http: httpx.AsyncClient, store: Store
) -> None:
    await store.load(docker_archive(["a:1"], [layer("x")]))
    kept = store.blob_count()
    await upload(http, b"new and leased")
    later = time.time() + 60
    assert await store.images.sweep(later) == 0
    await store.images.drop([digest_of(b"new and leased")])
    assert store.blob_count() == kept


async def test_an_image_can_be_removed_while_an_equal_one_is_loaded(store: Store) -> None:
    data = docker_archive(["a:1"], [layer("x", os.urandom(50_000))])
    await store.load(data)
    for _ in range(5):
        request = contract.RemoveRequest(reference="a:1", force=True)
        await asyncio.gather(store.bus.call(contract.REMOVE, request), store.load(data))
        await store.load(data)
        answer = await store.bus.call(contract.RESOLVE, contract.ImageRequest(reference="a:1"))
        for one in answer.image.layers:
            assert store.images.blobs.has(one.digest)


async def test_everything_works_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    async with opened(postgres_url) as database:
        await migrated(database, Path(catalogue.__file__).parent / "migrations")
        images = await opened_images(folder, database, KeptEvents())
        await opened_images(folder, database, KeptEvents())
        for content in (b"1", b"2"):
            blob = images.blobs.put(layer("x", content))
            await images.learn(blob)
        assert await images.missing([blob.digest, digest_of(b"no")]) == [digest_of(b"no")]
        config = json.dumps(
            {"os": "linux", "rootfs": {"diff_ids": [blob.digest]}, "config": {}}
        ).encode()
        await images.learn(images.blobs.put(config))
        manifest = Manifest(
            manifests.DOCKER_MANIFEST,
            Descriptor(manifests.DOCKER_CONFIG, digest_of(config), len(config)),
            (Descriptor(manifests.DOCKER_LAYER, blob.digest, blob.size_bytes),),
        ).to_bytes()
        for _ in range(2):
            put = await images.put(manifest, "", [references.parse("a:1")])
        assert not put.changed
        assert (await images.resolve("a:1")).id == digest_of(config)
        assert (await images.resolve(put.image.id[7:15])).id == put.image.id
        await images.tag("a:1", "b:1")
        await images.pushable("b:1")
        for name in ("a:1", "b:1"):
            await images.remove(name, force=False, prune_parents=True, in_use=[])
        await images.drop([digest for digest, _ in images.blobs.all()])
        assert not list(images.blobs.all())


async def test_skopeo_copies_in_and_out(store: Store, tmp_path: Path) -> None:
    await store.load(docker_archive(["a:1"], [layer("x")]))
    secret = tmp_path / "secret"
    secret.write_text("sesame")
    distribution = Distribution(store.images)
    application = distribution.application(secret)
    async with serving(application, [Listener("tcp://127.0.0.1:0")]) as server:
        base = "docker://" + server.addresses[0].partition("://")[2]
        source, target = f"{base}/docker.io/library/a:1", f"{base}/tools/b:2"
        for one, other in ((source, f"dir:{tmp_path}/copy"), (f"dir:{tmp_path}/copy", target)):
            process = await asyncio.create_subprocess_exec(
                *("skopeo", "--insecure-policy", "copy", "--quiet"),
                *("--src-tls-verify=false", "--dest-tls-verify=false"),
                *("--src-creds=fleet:sesame",) * one.startswith("docker:"),
                *("--dest-creds=fleet:sesame",) * other.startswith("docker:"),
                *(one, other),
                stderr=asyncio.subprocess.PIPE,
            )
            _, problems = await asyncio.wait_for(process.communicate(), 120)
            assert process.returncode == 0, problems.decode()
    assert await store.names() == ["a:1", "tools/b:2"]
    await distribution.close()
