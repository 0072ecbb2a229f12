"""Twin of flotilla_oci.unpack, .diff, .tarstream and .compression: layers to folders and back."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci.compression import decompressed
from flotilla_oci.diff import is_opaque, is_whiteout, write_layer
from flotilla_oci.tarstream import TarReader
from flotilla_oci.unpack import LayerUnpacker
from flotilla_testing.archives import Member, archive, folder, hard_link, symlink

COMPRESSIONS = [
    gzip.compress,
    zstandard.ZstdCompressor().compress,
    bz2.compress,
    lzma.compress,
]


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def unpack(target: Path, data: bytes, *, form: str = "overlay") -> dict[str, object]:
    """Unpack as the agent does, in a process of its own."""
    target.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "flotilla_oci.unpack", str(target), form],
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def two_members(data: bytes) -> bytes:
    half = len(data) // 2
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, two_members, bz2.compress, lzma.compress, zstandard.compress],
)
def test_every_compression_unpacks_to_the_same(compress: object, tmp_path: Path) -> None:
    plain = archive(folder("d"), Member("d/f", b"x" * 100_000))
    data = compress(plain)  # type: ignore[operator]
    assert b"".join(decompressed(pieces(data))) == plain
    result = unpack(tmp_path / "out", data)
    assert result == {
        "diff_id": "sha256:" + hashlib.sha256(plain).hexdigest(),
        "size_bytes": 100_000,
    }
    assert (tmp_path / "out/d/f").read_bytes() == b"x" * 100_000


def test_a_stream_that_ends_early_is_an_error(tmp_path: Path) -> None:
    data = gzip.compress(archive(Member("f", os.urandom(10_000))))
    with pytest.raises(InvalidArgumentError):
        list(decompressed(pieces(data[:-20])))
    assert unpack(tmp_path / "out", data[:-2000])["error"] == "unexpected EOF"


def test_attributes_arrive(tmp_path: Path) -> None:
    long = "n" * 120 + "/" + "m" * 120
    out = tmp_path / "out"
    unpack(
        out,
        archive(
            Member("suid", b"1", mode=0o4755, uid=12, gid=34),
            folder("sticky", 0o1777),
            symlink("link", "suid"),
            hard_link("hard", "suid"),
            Member("fifo", kind=tarfile.FIFOTYPE, mode=0o640),
            Member("attr", b"2", pax={"SCHILY.xattr.user.colour": "blue"}),
            Member(long, b"3"),
        ),
    )
    status = (out / "suid").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 12, 34)
    assert status.st_mtime == 1_700_000_000
    assert stat.S_IMODE((out / "sticky").stat().st_mode) == 0o1777
    assert (out / "sticky").stat().st_mtime == 1_700_000_000
    assert (out / "link").readlink() == Path("suid")
    assert (out / "hard").samefile(out / "suid")
    assert stat.S_ISFIFO((out / "fifo").lstat().st_mode)
    assert os.getxattr(out / "attr", "user.colour") == b"blue"
    assert (out / long).read_bytes() == b"3"


def test_nothing_is_written_outside_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("whole")
    result = unpack(
        tmp_path / "out",
        archive(
            symlink("a", str(outside)),
            Member("a/escaped", b"1"),
            symlink("b", "../outside"),
            Member("b/escaped", b"2"),
            Member("../outside/escaped", b"3"),
            Member("/etc/absolute", b"4"),
            hard_link("c", f"../../../..{outside}/victim"),
        ),
    )
    assert "error" in result
    assert sorted(path.name for path in outside.iterdir()) == ["victim"]
    assert (outside / "victim").stat().st_nlink == 1


def test_deletions_become_those_of_overlayfs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    unpack(out, archive(folder("d"), Member("d/.wh.gone"), Member("d/.wh..wh..opq")))
    assert is_whiteout((out / "d/gone").lstat())
    assert is_opaque(out / "d")


def test_deletions_delete_in_a_plain_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    unpack(
        out, archive(folder("d"), Member("d/old", b"1"), folder("e"), Member("e/x")), form="plain"
    )
    unpack(
        out,
        archive(Member("d/new", b"2"), Member("d/.wh..wh..opq"), Member(".wh.e")),
        form="plain",
    )
    assert [path.name for path in (out / "d").iterdir()] == ["new"]
    assert not (out / "e").exists()


def test_a_later_member_replaces_an_earlier_one_of_another_kind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    unpack(
        out,
        archive(
            folder("a"),
            Member("a/x", b"1"),
            symlink("a", "b"),
            Member("b", b"2"),
            folder("b"),
            Member("b/y", b"3"),
        ),
    )
    assert (out / "a").is_symlink()
    assert (out / "b/y").read_bytes() == b"3"


def test_a_layer_made_of_a_folder_unpacks_to_an_equal_folder(tmp_path: Path) -> None:
    first = tmp_path / "first"
    unpack(
        first,
        archive(
            folder("d", 0o700),
            Member("d/.wh..wh..opq"),
            Member("d/f", b"content", mode=0o4755, uid=3, gid=4),
            hard_link("d/g", "d/f"),
            symlink("l", "/nowhere"),
            Member(".wh.gone"),
            Member("attr", b"2", pax={"SCHILY.xattr.user.colour": "blue"}),
        ),
    )
    layer = io.BytesIO()
    write_layer(first, layer)
    second = tmp_path / "second"
    assert "error" not in unpack(second, layer.getvalue())
    assert listing(second) == listing(first)
    assert (second / "d/f").samefile(second / "d/g")
    assert os.getxattr(second / "attr", "user.colour") == b"blue"


def listing(root: Path) -> list[tuple[object, ...]]:
    return [
        (
            str(path.relative_to(root)),
            path.lstat().st_mode,
            path.lstat().st_uid,
            path.lstat().st_rdev,
            path.is_dir() and not path.is_symlink() and is_opaque(path),
        )
        for path in sorted(root.rglob("*"))
    ]


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError):
        LayerUnpacker(str(tmp_path), overlay=True).unpack(pieces(b"x" * 2048))


def with_size(header: bytes, size: int) -> bytes:
    """Return a member's header with another size, in base 256, and its new checksum."""
    made = bytearray(header)
    made[124:136] = size.to_bytes(12, "big", signed=True)
    made[148:156] = b" " * 8
    made[148:156] = f"{sum(made):06o}\0 ".encode()
    return bytes(made)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_negative_size_is_an_error_and_no_endless_loop(kind: bytes) -> None:
    header = with_size(archive(Member("x", kind=kind))[:512], -512)
    with pytest.raises(InvalidArgumentError, match="invalid tar header"):
        list(TarReader(pieces(header + bytes(1024), 4096)))


@pytest.mark.parametrize("size", ["-1024", "many"])
def test_a_wrong_size_in_pax_is_an_error(size: str) -> None:
    data = archive(Member("x", pax={"size": size}))
    with pytest.raises(InvalidArgumentError, match="invalid tar header"):
        list(TarReader(pieces(data, 4096)))


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_members_may_end_anywhere(compress: Callable[[bytes], bytes]) -> None:
    parts = [bytes([number]) * number for number in range(1, 40)]
    data = b"".join(compress(part) for part in parts) + bytes(100)
    for size in (1, 7, 64, 4096):
        assert b"".join(decompressed(pieces(data, size))) == b"".join(parts)


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_a_stream_that_grows_without_bounds_comes_in_bounded_pieces(
    compress: Callable[[bytes], bytes],
) -> None:
    size = 100 << 20
    bomb = compress(bytes(size))
    lengths = [len(piece) for piece in decompressed(pieces(bomb, 1 << 20))]
    assert sum(lengths) == size
    assert max(lengths) <= 70 << 20
