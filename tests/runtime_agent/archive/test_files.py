"""Twin of ``archive/files.py``: dockerd's rules for cp, on a root of the test's own."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from flotilla_core.errors import (
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from flotilla_runtime_agent.archive.files import (
    absolute,
    receive_path,
    send_all,
    send_path,
    stat_path,
)
from flotilla_runtime_agent.archive.view import FileView, ViewMount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Tape:
    """A stream that keeps what is written, or plays bytes in small pieces."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    async def write(self, data: bytes) -> None:
        self.data += data

    async def take(self) -> bytes:
        taken = bytes(self.data[:1000])
        del self.data[:1000]
        return taken

    async def blocking_input(self) -> None:
        """Nothing comes by a socket."""


class BrokenTape(Tape):
    async def take(self) -> bytes:
        taken = await super().take()
        if not taken:
            raise UnavailableError("cut off")
        return taken


def members(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [member.name for member in archive]


def archive_of(*entries: tuple[str, bytes | None], link: tuple[str, str] | None = None) -> bytes:
    """Return a tar: None for content makes a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        if link:
            info = tarfile.TarInfo(link[0])
            info.type, info.linkname = tarfile.SYMTYPE, link[1]
            archive.addfile(info)
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.uid, info.gid, info.mode = 11, 12, 0o640
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o750
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "etc" / "deep").mkdir(parents=True)
    (made / "etc" / "file").write_text("hello")
    (made / "etc" / "link").symlink_to("/etc/file")
    (made / "etc" / "hard").hardlink_to(made / "etc" / "file")
    (made / "run").mkdir()
    (made / "var-run").symlink_to("/run")
    (made / "volume").mkdir()
    return made


async def test_stat_describes_a_link_and_where_it_leads(root: Path) -> None:
    found = await stat_path(FileView(root), "/etc/link", "web")
    assert (found.name, found.link_target) == ("link", "/etc/file")
    assert found.mode & 1 << 27
    folder = await stat_path(FileView(root), "etc/", "web")
    assert (folder.name, folder.mode >> 31) == ("etc", 1)


async def test_missing_path_is_named_as_dockerd_does(root: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        await stat_path(FileView(root), "/nope", "web")
    assert caught.value.message == "Could not find the file /nope in container web"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a/../b", "/b"), ("/x/.", "/x/."), ("x/", "/x/"), ("/", "/"), ("../..", "/"), ("", "/")],
)
def test_paths_keep_what_their_end_means(path: str, expected: str) -> None:
    assert absolute(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc", ["etc", "etc/deep", "etc/file", "etc/hard", "etc/link"]),
        ("/etc/.", [".", "./deep", "./file", "./hard", "./link"]),
        ("/etc/file", ["file"]),
        ("/etc/link", ["link"]),
        ("/var-run/", ["var-run"]),
    ],
)
async def test_names_in_the_archive(root: Path, path: str, expected: list[str]) -> None:
    tape = Tape()
    await send_path(FileView(root), path, "web", tape)
    assert members(bytes(tape.data)) == expected


async def test_export_has_everything_with_hard_links(root: Path) -> None:
    tape = Tape()
    await send_all(FileView(root), tape)
    with tarfile.open(fileobj=io.BytesIO(bytes(tape.data))) as archive:
        hard = archive.getmember("etc/hard")
        assert (hard.type, hard.linkname) == (tarfile.LNKTYPE, "etc/file")
        assert archive.getmember("var-run").linkname == "/run"


async def test_volumes_of_a_stopped_container_are_seen(root: Path, tmp_path: Path) -> None:
    volume = tmp_path / "data"
    volume.mkdir()
    (volume / "kept").touch()
    view = FileView(root, mounts=[ViewMount(str(volume), "/volume")])
    tape = Tape()
    await send_path(view, "/volume", "web", tape)
    assert members(bytes(tape.data)) == ["volume", "volume/kept"]
    await receive_path(view, "/volume", "web", Tape(archive_of(("new", b"x"))))
    assert (volume / "new").read_text() == "x"
    assert not (root / "volume" / "new").exists()


async def test_links_lead_nowhere_but_into_the_container(root: Path) -> None:
    data = archive_of(("inside", b"x"), ("out/evil", b"x"), link=("out", "/../../../run"))
    await receive_path(FileView(root), "/var-run", "web", Tape(data))
    assert (root / "run" / "inside").read_text() == "x"
    assert (root / "run" / "evil").read_text() == "x"
    status = (root / "run" / "inside").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (11, 12, 0o640)


async def test_entry_that_leads_out_is_refused(root: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="is outside of"):
        await receive_path(FileView(root), "/etc", "web", Tape(archive_of(("../evil", b"x"))))


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress, bytes],
)
async def test_every_compression(root: Path, compress: Callable[[bytes], bytes]) -> None:
    data = compress(archive_of(("made", bytes(50_000)), ("made.d", None)))
    await receive_path(FileView(root), "/", "web", Tape(data))
    assert (root / "made").stat().st_size == 50_000
    assert (root / "made.d").stat().st_mode & 0o777 == 0o750


async def test_owner_of_the_container_replaces_those_of_the_archive(root: Path) -> None:
    data = archive_of(("mine", b"x"))
    await receive_path(FileView(root), "/run", "web", Tape(data), owner=(33, 44))
    status = (root / "run" / "mine").stat()
    assert (status.st_uid, status.st_gid) == (33, 44)


async def test_folder_and_file_in_each_others_place(root: Path) -> None:
    view, data = FileView(root), archive_of(("deep", b"now a file"))
    with pytest.raises(InvalidArgumentError) as caught:
        await receive_path(view, "/etc", "web", Tape(data), no_overwrite_dir_non_dir=True)
    assert caught.value.message == (
        'cannot overwrite directory "/etc/deep" with non-directory "/etc"'
    )
    await receive_path(view, "/etc", "web", Tape(data))
    assert (root / "etc" / "deep").is_file()


async def test_what_may_not_be_written(root: Path, tmp_path: Path) -> None:
    data = archive_of(("x", b"x"))
    view = FileView(root, mounts=[ViewMount(str(tmp_path), "/volume", True)], read_only=True)
    with pytest.raises(PermissionDeniedError, match="mounted volume is marked read-only"):
        await receive_path(view, "/volume", "web", Tape(data))
    with pytest.raises(PermissionDeniedError, match="container rootfs is marked read-only"):
        await receive_path(view, "/etc", "web", Tape(data))
    with pytest.raises(InvalidArgumentError, match="extraction point is not a directory"):
        await receive_path(FileView(root), "/etc/file", "web", Tape(data))
    with pytest.raises(NotFoundError, match="Could not find the file /nope in container web"):
        await receive_path(FileView(root), "/nope", "web", Tape(data))


async def test_transfer_that_breaks_off_is_an_error(root: Path) -> None:
    data = archive_of(("half", bytes(5000)))[:4000]
    with pytest.raises(UnavailableError, match="cut off"):
        await receive_path(FileView(root), "/run", "web", BrokenTape(data))
