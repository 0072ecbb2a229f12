"""Twin of flotilla_runtime_agent.snapshots: real overlays, layers from a real HTTP server."""

import asyncio
import gzip
import hashlib
import http.server
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from flotilla_core.errors import FlotillaError, Kind
from flotilla_engine.records import ImageRecord, Layer
from flotilla_oci.diff import write_layer
from flotilla_runtime_agent.snapshots import layers as layers_module
from flotilla_runtime_agent.snapshots.copying import CopySnapshots
from flotilla_runtime_agent.snapshots.layers import ImageStoreAddress
from flotilla_runtime_agent.snapshots.mounting import is_mounted, overlay, unmount
from flotilla_runtime_agent.snapshots.opening import opened
from flotilla_runtime_agent.snapshots.overlay import OverlaySnapshots
from flotilla_testing.archives import Member, archive, folder, symlink

AnySnapshots = OverlaySnapshots | CopySnapshots


class BlobServer(http.server.ThreadingHTTPServer):
    """Serves blobs; breaks each connection half way while `interruptions` last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.requests = 0
        self.interruptions = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BlobServer

    def do_GET(self) -> None:
        self.server.requests += 1
        blob = self.server.blobs.get(self.path.rpartition("/")[2])
        if self.headers["Authorization"] != "Bearer sesame" or blob is None:
            self.send_response(404 if blob is None else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(blob) - start))
        self.end_headers()
        rest = blob[start:]
        if self.server.interruptions:
            self.server.interruptions -= 1
            rest = rest[: len(rest) // 2]
            self.close_connection = True
        self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def blobs() -> Iterator[BlobServer]:
    with BlobServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["overlay2", "vfs"])
async def snapshots(
    request: pytest.FixtureRequest, tmp_path: Path, blobs: BlobServer
) -> AsyncIterator[AnySnapshots]:
    token = tmp_path / "token"
    token.write_text("sesame\n")
    store = ImageStoreAddress(f"http://127.0.0.1:{blobs.server_port}", str(token))
    async with opened(tmp_path / "root", store, driver=request.param) as them:
        yield them
        await them.repair([])


def image(blobs: BlobServer, *archives: bytes) -> ImageRecord:
    made = []
    for plain in archives:
        blob = gzip.compress(plain, mtime=0)
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        blobs.blobs[digest] = blob
        diff_id = "sha256:" + hashlib.sha256(plain).hexdigest()
        made.append(
            Layer(digest=digest, diff_id=diff_id, size_bytes=len(blob), media_type="", diff_bytes=5)
        )
    return ImageRecord(id="sha256:" + "ab" * 32, layers=made)


LOWER = archive(
    folder("etc"),
    Member("etc/a", b"below"),
    Member("etc/b", b"hidden"),
    folder("opt"),
    Member("opt/old", b"old"),
    symlink("lib", "/usr/lib"),
    Member("tool", b"#!", mode=0o4755, uid=7, gid=8),
)
UPPER = archive(
    folder("etc", 0o711),
    Member("etc/.wh.b"),
    folder("opt"),
    Member("opt/.wh..wh..opq"),
    Member("opt/new", b"new"),
)


async def test_a_container_sees_its_layers_on_top_of_each_other(
    snapshots: AnySnapshots, blobs: BlobServer
) -> None:
    two = image(blobs, LOWER, UPPER)
    await asyncio.gather(snapshots.fetch(two), snapshots.fetch(two))
    assert blobs.requests == 2
    await snapshots.prepare("c1", two)
    root = await snapshots.mount("c1")
    assert await snapshots.mount("c1") == root

    assert (root / "etc/a").read_bytes() == b"below"
    assert not (root / "etc/b").exists()
    assert [path.name for path in (root / "opt").iterdir()] == ["new"]
    assert str((root / "lib").readlink()) == "/usr/lib"
    tool = (root / "tool").stat()
    assert (stat.S_IMODE(tool.st_mode), tool.st_uid, tool.st_gid) == (0o4755, 7, 8)
    assert stat.S_IMODE((root / "etc").stat().st_mode) == 0o711
    assert (root / "etc/hosts").is_file()
    assert (root / ".dockerenv").is_file()

    (root / "etc/a").write_bytes(b"changed")
    await snapshots.unmount("c1")
    assert ((await snapshots.mount("c1")) / "etc/a").read_bytes() == b"changed"
    await snapshots.remove("c1")
    await snapshots.remove("c1")
    assert not root.exists()
    with pytest.raises(FlotillaError) as problem:
        await snapshots.get("c1")
    assert problem.value.kind is Kind.NOT_FOUND


async def test_layers_stay_while_they_are_used(
    snapshots: AnySnapshots, blobs: BlobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers_module, "PIN_S", -1.0)
    one, other = image(blobs, LOWER), image(blobs, UPPER)
    await snapshots.fetch(one)
    await snapshots.fetch(other)
    assert await snapshots.release([one]) > 0
    assert await snapshots.release([one]) == 0
    await snapshots.prepare("c1", one)
    with pytest.raises(FlotillaError):
        await snapshots.prepare("c2", other)


async def test_a_broken_connection_is_taken_up_where_it_broke(
    snapshots: AnySnapshots, blobs: BlobServer
) -> None:
    blobs.interruptions = 2
    large = image(blobs, archive(Member("large", os.urandom(1 << 20))))
    await snapshots.fetch(large)
    assert blobs.requests == 3


async def test_a_layer_that_the_store_lacks_is_not_found(
    snapshots: AnySnapshots, blobs: BlobServer
) -> None:
    gone = image(blobs, LOWER)
    blobs.blobs.clear()
    with pytest.raises(FlotillaError) as problem:
        await snapshots.fetch(gone)
    assert problem.value.kind is Kind.NOT_FOUND


async def test_a_layer_with_other_content_never_becomes_visible(
    snapshots: AnySnapshots, blobs: BlobServer
) -> None:
    wrong = image(blobs, LOWER)
    wrong.layers[0].diff_id = "sha256:" + "00" * 32
    with pytest.raises(FlotillaError, match="layer is"):
        await snapshots.fetch(wrong)
    with pytest.raises(FlotillaError, match="not on this node"):
        await snapshots.prepare("c1", wrong)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("")])
async def test_repair_gives_a_layer_its_short_name_back(
    snapshots: AnySnapshots, blobs: BlobServer, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    wanted = image(blobs, LOWER, UPPER)
    await snapshots.fetch(wanted)
    await snapshots.prepare("kept", wanted)
    for note in (tmp_path / "root").glob("layers/*/link"):
        damage(note)
    await snapshots.repair(["kept"])
    root = await snapshots.mount("kept")
    assert (root / "etc/a").read_bytes() == b"below"
    await snapshots.unmount("kept")
    await snapshots.repair([])
    assert await snapshots.release([]) >= 0


async def test_repair_removes_what_no_container_has(
    snapshots: AnySnapshots, blobs: BlobServer
) -> None:
    one = image(blobs, LOWER)
    await snapshots.fetch(one)
    await snapshots.prepare("kept", one)
    await snapshots.prepare("gone", one)
    root = await snapshots.mount("gone")
    await snapshots.repair(["kept"])
    assert not is_mounted(root)
    assert not root.exists()
    await snapshots.get("kept")


async def test_what_a_crash_left_mounted_is_taken_away(tmp_path: Path) -> None:
    store = ImageStoreAddress("http://127.0.0.1:1")
    left = tmp_path / "root" / "tmp" / "half"
    for name in ("diff", "work", "merged"):
        (left / name).mkdir(parents=True)
    overlay([str(left)], str(left / "merged"), str(left / "diff"), str(left / "work"))
    async with opened(tmp_path / "root", store):
        assert not left.exists()


async def test_an_image_of_a_hundred_layers_mounts(tmp_path: Path, blobs: BlobServer) -> None:
    token = tmp_path / "token"
    token.write_text("sesame")
    store = ImageStoreAddress(f"http://127.0.0.1:{blobs.server_port}", str(token))
    async with opened(tmp_path / "root", store, driver="overlay2") as snapshots:
        assert isinstance(snapshots, OverlaySnapshots)
        deep = image(blobs, *(archive(Member(f"f{i}", b"x")) for i in range(3)))
        await snapshots.fetch(deep)
        base = deep.layers[0]
        deep.layers = [base] * 120
        for chain_id in deep.chain_ids()[1:]:
            temporary = tmp_path / "root" / "tmp" / chain_id[-20:]
            (temporary / "diff").mkdir(parents=True)
            snapshots._layers.add(chain_id, temporary)
        await snapshots.prepare("c1", deep)
        root = await snapshots.mount("c1")
        assert (root / "f0").exists()
        (root / "own").write_text("mine")
        (root / "f0").unlink()
        output = tmp_path / "layer.tar"
        with output.open("wb") as file:
            write_layer((await snapshots.get("c1")).upper, file)
        assert b".wh.f0" in output.read_bytes()
        target = tmp_path / "image"
        target.mkdir()
        await snapshots.mount_image(deep, target)
        assert (target / "f0").exists()
        assert unmount(target)
        await snapshots.remove("c1")
