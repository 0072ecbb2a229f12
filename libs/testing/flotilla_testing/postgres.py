"""A real PostgreSQL for tests, on a socket of its own: no port is taken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_STARTS_WITHIN_S = 60


class PostgresMissingError(RuntimeError):
    """PostgreSQL is not installed on this machine."""


@contextlib.asynccontextmanager
async def postgres_server() -> AsyncIterator[str]:
    """Run PostgreSQL for the length of the block, and give the URL of an empty database.

    Raises:
        PostgresMissingError: If it is not installed.
    """
    if not _BINARIES:
        raise PostgresMissingError("PostgreSQL is not installed")
    folder = await asyncio.to_thread(_folder)
    try:
        await _run("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-N")
        process = await asyncio.create_subprocess_exec(
            *_as_postgres("postgres"),
            *("-D", f"{folder}/data", "-k", folder),
            *("-c", "listen_addresses=", "-c", "fsync=off"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_STARTS_WITHIN_S):
                while await _exit_code("pg_isready", "-q", "-h", folder) != 0:
                    if process.returncode is not None:
                        raise RuntimeError(f"postgres has ended with {process.returncode}")
                    await asyncio.sleep(0.05)
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGQUIT)
            await process.wait()
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _folder() -> str:
    """Make a folder that PostgreSQL's user owns: it refuses to run as root."""
    folder = tempfile.mkdtemp(prefix="flotilla-pg-")
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    return folder


def _as_postgres(program: str) -> list[str]:
    command = [str(_BINARIES[-1] / program)]
    if os.geteuid() == 0:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
    return command


async def _exit_code(program: str, *arguments: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *_as_postgres(program),
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


async def _run(program: str, *arguments: str) -> None:
    code = await _exit_code(program, *arguments)
    if code != 0:
        raise RuntimeError(f"{program} ended with {code}")
