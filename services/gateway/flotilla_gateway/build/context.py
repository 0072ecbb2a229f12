"""The build context: unpacked into a folder; what COPY and ADD take out of it, as an archive."""

import asyncio
import fnmatch
import hashlib
import json
import os
import posixpath
import shutil
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci.compression import decompressed, kind_of

_UNPACK = "flotilla_oci.unpack"
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Owner:
    """Whose copied files are."""

    uid: int = 0
    gid: int = 0


@asynccontextmanager
async def unpacked(chunks: AsyncIterator[bytes]) -> AsyncIterator[Path]:
    """Unpack a context, compressed or not, into a folder that lasts as long as the block.

    Raises:
        InvalidArgumentError: If it is no archive.
    """
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="flotilla-build-"))
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _UNPACK,
            str(folder),
            "plain",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                async for chunk in chunks:
                    process.stdin.write(chunk)
                    await process.stdin.drain()
            process.stdin.close()
            output = await process.stdout.read()
            if await process.wait():
                text = str(json.loads(output)["error"]) if output else "it cannot be unpacked"
                raise InvalidArgumentError(f"Error processing tar file: {text}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def inside(root: Path, name: str) -> Path:
    """Return a path of the context, whose links must not lead out of it.

    Raises:
        InvalidArgumentError: If they do, or there is nothing.
    """
    path = root / posixpath.normpath("/" + name).lstrip("/")
    real = path.resolve()
    if real != root.resolve() and root.resolve() not in real.parents:
        raise InvalidArgumentError(f"forbidden path outside the build context: {name}")
    if not os.path.lexists(path):
        raise InvalidArgumentError(
            f"{name}: file not found in build context or excluded by .dockerignore"
        )
    return path


def matching(root: Path, pattern: str) -> list[str]:
    """Return the paths of the context that a source of COPY or ADD means.

    Raises:
        InvalidArgumentError: If there is none.
    """
    clean = posixpath.normpath("/" + pattern).lstrip("/")
    if not any(letter in clean for letter in "*?["):
        inside(root, clean)
        return [clean]
    depth = clean.count("/")
    found = sorted(
        name
        for path in root.rglob("*")
        if (name := path.relative_to(root).as_posix()).count("/") == depth
        and all(
            fnmatch.fnmatchcase(part, wanted)
            for part, wanted in zip(name.split("/"), clean.split("/"), strict=True)
        )
    )
    if not found:
        raise InvalidArgumentError("no source files were specified")
    return found


def copied(
    root: Path, sources: list[str], target: str, owner: Owner, *, extract: bool
) -> IO[bytes]:
    """Return a file with the archive that brings sources to a target in a file system's root.

    Args:
        root: The context.
        sources: Paths in it.
        target: Absolute; with a slash at the end it is a folder.
        owner: Whose the files are to be.
        extract: Unpack sources that are archives (ADD).
    """
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever it is given to
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for source in sources:
            path = inside(root, source)
            if path.is_dir():
                for child in sorted(path.rglob("*")):
                    name = posixpath.join(target, child.relative_to(path).as_posix())
                    _add(archive, child, name, owner)
            elif extract and _is_archive(path):
                _extract(archive, path, target)
            else:
                name = target
                if target.endswith("/"):
                    name = posixpath.join(target, posixpath.basename(source))
                _add(archive, path.resolve(), name, owner)
    output.seek(0)
    return output


def moved(
    archive: IO[bytes], source: str, target: str, owner: Owner, *, is_folder: bool
) -> IO[bytes]:
    """Return an archive of another stage's path with the names that it gets here."""
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever it is given to
    top = posixpath.basename(posixpath.normpath(source))
    with (
        tarfile.open(fileobj=archive, mode="r:") as tar,
        tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as result,
    ):
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            member.name = _moved(member.name, top, target, is_folder=is_folder)
            if not member.name:
                continue
            if member.islnk():
                member.linkname = _moved(member.linkname, top, target, is_folder=is_folder)
            member.uid, member.gid, member.uname, member.gname = owner.uid, owner.gid, "", ""
            result.addfile(member, content)
    output.seek(0)
    return output


def _moved(name: str, top: str, target: str, *, is_folder: bool) -> str:
    if is_folder:
        rest = name.rstrip("/").partition("/")[2] if top else name.rstrip("/")
        return posixpath.join(target, rest).lstrip("/") if rest else ""
    return (posixpath.join(target, top) if target.endswith("/") else target).lstrip("/")


def digest_of(archive: IO[bytes]) -> str:
    """Return what names an archive's content, its times left out."""
    sha = hashlib.sha256()
    archive.seek(0)
    with tarfile.open(fileobj=archive, mode="r:") as tar:
        for member in tar:
            parts = (member.name, member.type, member.mode, member.uid, member.gid, member.linkname)
            sha.update(repr(parts).encode("utf-8", "surrogateescape"))
            if member.isreg():
                content = tar.extractfile(member)
                assert content is not None
                while chunk := content.read(_READ_BYTES):
                    sha.update(chunk)
    archive.seek(0)
    return sha.hexdigest()


def _add(archive: tarfile.TarFile, path: Path, name: str, owner: Owner) -> None:
    if path.is_socket():
        return
    info = archive.gettarinfo(str(path), arcname=name.lstrip("/"))
    info.uid, info.gid, info.uname, info.gname = owner.uid, owner.gid, "", ""
    if info.isreg():
        with path.open("rb") as content:
            archive.addfile(info, content)
    else:
        archive.addfile(info)


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(512)
    return bool(kind_of(start)) or start[257:262] == b"ustar"


def _extract(archive: tarfile.TarFile, path: Path, target: str) -> None:
    with path.open("rb") as file:
        plain = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the block below
        for chunk in decompressed(iter(lambda: file.read(_READ_BYTES), b"")):
            plain.write(chunk)
    plain.seek(0)
    with plain, tarfile.open(fileobj=plain) as inner:
        for member in inner:
            content = inner.extractfile(member) if member.isreg() else None
            inside_root = posixpath.normpath("/" + member.name)
            member.name = posixpath.join(target, inside_root.lstrip("/")).lstrip("/")
            if member.islnk():
                member.linkname = posixpath.join(target, member.linkname).lstrip("/")
            archive.addfile(member, content)
