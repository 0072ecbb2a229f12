"""Twin of ``volumes/local.py``."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from flotilla_core.errors import ConflictError, InvalidArgumentError, NotFoundError
from flotilla_engine.records import VolumeRecord
from flotilla_runtime_agent.volumes.local import LocalVolumes, passing_user
from flotilla_runtime_agent.volumes.transfer import receive_content, send_content

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def volume(name: str, **options: str) -> VolumeRecord:
    return VolumeRecord(name=name, created=datetime.now(UTC), options=options)


@pytest_asyncio.fixture
async def volumes(tmp_path: Path) -> AsyncIterator[LocalVolumes]:
    made = LocalVolumes(tmp_path / "volumes")
    yield made
    for record in await made.list():
        for user in ("one", "two"):
            await made.unmount(record.name, user)


async def test_created_volume_is_listed_and_found_by_the_next_agent(
    volumes: LocalVolumes, tmp_path: Path
) -> None:
    record = await volumes.create(volume("data"))
    assert record.mountpoint == str(tmp_path / "volumes" / "data" / "_data")
    assert (tmp_path / "volumes" / "data" / "_data").is_dir()
    again = LocalVolumes(tmp_path / "volumes")
    assert await again.list() == [record]
    assert await again.create(volume("data")) == record


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("x", {}, "volume name is too short"),
        ("a/b", {}, "includes invalid characters for a local volume name"),
        ("..", {}, "includes invalid characters"),
        ("data", {"nope": "1"}, 'invalid option: "nope"'),
        ("data", {"type": "tmpfs"}, 'missing required option: "device"'),
        ("data", {"size": "1g"}, "quota size requested but no quota support"),
    ],
)
async def test_wrong_names_and_options_are_refused(
    volumes: LocalVolumes, name: str, options: dict[str, str], text: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=text.replace("(", ".")):
        await volumes.create(volume(name, **options))
    assert await volumes.list() == []


async def test_volume_in_use_is_not_removed(volumes: LocalVolumes) -> None:
    await volumes.create(volume("data"))
    await volumes.mount("data", "one")
    await volumes.mount("data", "two")
    await volumes.unmount("data", "one")
    with pytest.raises(ConflictError, match=r"remove data: volume is in use - \[two\]"):
        await volumes.remove("data")
    await volumes.unmount("data", "two")
    await volumes.remove("data")
    with pytest.raises(NotFoundError, match="get data: no such volume"):
        await volumes.inspect("data")
    with pytest.raises(NotFoundError):
        await volumes.remove("data")
    await volumes.remove("data", force=True)


@needs_root
async def test_options_are_mounted_for_the_first_user_until_the_last(
    volumes: LocalVolumes,
) -> None:
    await volumes.create(volume("memory", type="tmpfs", device="tmpfs", o="size=1m,uid=7,nosuid"))
    first = await volumes.mount("memory", "one")
    second = await volumes.mount("memory", "two")
    assert first.path == second.path
    assert first.path.is_mount()
    assert first.path.stat().st_uid == 7
    await volumes.unmount("memory", "one")
    assert first.path.is_mount()
    await volumes.unmount("memory", "two")
    assert not first.path.is_mount()


@needs_root
async def test_bound_folder_is_mounted_once_and_survives_its_volume(
    volumes: LocalVolumes, tmp_path: Path
) -> None:
    bound = tmp_path / "bound"
    bound.mkdir()
    (bound / "kept").write_text("the user's own")
    await volumes.create(volume("bind", type="none", device=str(bound), o="bind"))
    path = (await volumes.mount("bind", "one")).path
    await volumes.mount("bind", "two")
    assert (path / "kept").exists()
    await volumes.unmount("bind", "one")
    assert (path / "kept").exists()
    await volumes.unmount("bind", "two")
    assert not (path / "kept").exists()
    # Also where an agent died with it mounted, and nobody has counted its user.
    await volumes.mount("bind", "one")
    (tmp_path / "volumes" / "bind" / "users" / "one").unlink()
    await volumes.remove("bind")
    assert (bound / "kept").read_text() == "the user's own"


@needs_root
async def test_copy_up_fills_only_an_empty_volume(volumes: LocalVolumes, tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "real" / "sub").mkdir(parents=True)
    (image / "real" / "file").write_text("from the image")
    (image / "real").chmod(0o750)
    os.chown(image / "real", 5, 6)
    # The link leads to the image's own folder, not to the host's.
    (image / "data").symlink_to("/real")
    record = await volumes.create(volume("data"))
    await volumes.copy_up("data", image, "/data")
    data = tmp_path / "volumes" / "data" / "_data"
    assert record.mountpoint == str(data)
    assert (data / "file").read_text() == "from the image"
    assert (data / "sub").is_dir()
    status = data.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (5, 6, 0o750)
    (image / "real" / "later").touch()
    await volumes.copy_up("data", image, "/data")
    assert not (data / "later").exists()


async def test_usage_counts_bytes_and_users(volumes: LocalVolumes) -> None:
    record = await volumes.create(volume("data"))
    (Path(record.mountpoint) / "a").write_bytes(bytes(1000))
    (Path(record.mountpoint) / "b").hardlink_to(Path(record.mountpoint) / "a")
    await volumes.mount("data", "one")
    (usage,) = await volumes.usage([])
    assert (usage.name, usage.size_bytes, usage.ref_count) == ("data", 1000, 1)
    assert await volumes.usage(["unknown"]) == []


class Tape:
    """A stream that keeps what is written, and plays it back."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self.chunks.append(data)

    async def take(self) -> bytes:
        return self.chunks.pop(0) if self.chunks else b""

    async def blocking_input(self) -> None:
        """Nothing comes by a socket."""


@needs_root
async def test_content_moves_from_volume_to_volume(volumes: LocalVolumes) -> None:
    source = Path((await volumes.create(volume("from"))).mountpoint)
    target = Path((await volumes.create(volume("to"))).mountpoint)
    (source / "dir").mkdir()
    (source / "dir" / "file").write_text("content")
    (source / "link").symlink_to("/etc/passwd")
    os.chown(source / "dir" / "file", 12, 34)
    tape = Tape()
    await send_content(source, tape)
    await receive_content(target, tape)
    assert (target / "dir" / "file").read_text() == "content"
    assert (target / "dir" / "file").stat().st_gid == 34
    assert (target / "link").readlink() == Path("/etc/passwd")


async def test_users_that_are_no_containers_end_with_the_agent(
    volumes: LocalVolumes, tmp_path: Path
) -> None:
    await volumes.create(volume("data"))
    await volumes.mount("data", passing_user())
    with pytest.raises(ConflictError, match="volume is in use"):
        await volumes.remove("data")
    again = LocalVolumes(tmp_path / "volumes")
    await again.remove("data")


async def test_a_volume_that_a_container_has_is_not_removed(volumes: LocalVolumes) -> None:
    await volumes.create(volume("data"))
    volumes.hold("data", "one")
    with pytest.raises(ConflictError, match=r"volume is in use - \[one\]"):
        await volumes.remove("data", force=True)
    volumes.release("one")
    await volumes.remove("data")


async def fill(volumes: LocalVolumes, content: str) -> None:
    async with volumes.importing(volume("data")) as folder:
        if not content:
            raise OSError("broken off")
        (folder / "file").write_text(content)
        assert (await volumes.list() == []) == (content == "first")


async def test_an_import_appears_as_a_whole_or_not_at_all(volumes: LocalVolumes) -> None:
    await fill(volumes, "first")
    await fill(volumes, "second")
    with pytest.raises(OSError, match="broken off"):
        await fill(volumes, "")
    data = volumes.data_folder("data")
    assert (data / "file").read_text() == "second"
    assert [path.name for path in data.parent.parent.iterdir()] == ["data"]
