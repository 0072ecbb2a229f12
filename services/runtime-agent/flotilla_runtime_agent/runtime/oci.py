"""The OCI runtime's own commands and state, beside what conmon calls.

Starting and deleting go around the runtime's program, which costs milliseconds each; what they
do is checked, and the program is the fallback.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from pathlib import Path

from flotilla_runtime_agent.runtime.conmon import (
    ENVIRONMENT,
    OciRuntime,
    RuntimeFailedError,
    runtime_message,
)
from flotilla_runtime_agent.runtime.processes import ProcessRef, readable, run


async def start(runtime: OciRuntime, container_id: str, process: ProcessRef) -> None:
    """Let a created container's process run.

    Raises:
        RuntimeFailedError: With the runtime's message.
    """
    fifo = runtime.root / container_id / "exec.fifo"
    if runtime.path.name != "runc" or not fifo.exists():
        await _command(runtime, "start", container_id)
        return
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError as error:
        raise RuntimeFailedError("container process ended before it was started") from error
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        events = [asyncio.ensure_future(readable(fd)) for fd in (reading, pidfd)]
        await asyncio.wait(events, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
        await asyncio.gather(*events, return_exceptions=True)
        if not _is_told(reading):
            raise RuntimeFailedError("container process ended before it was started")
    finally:
        os.close(reading)
        os.close(pidfd)
    fifo.unlink(missing_ok=True)


def _is_told(fifo: int) -> bool:
    """Whether the process has said that it goes on; it may have ended since."""
    try:
        return bool(os.read(fifo, 1))
    except BlockingIOError:
        return False


async def _command(runtime: OciRuntime, *words: str | Path) -> bytes:
    done = await run(runtime.command(*words), env=ENVIRONMENT)
    if done.code:
        raise RuntimeFailedError(runtime_message(done.stderr.decode(errors="replace")))
    return done.stdout


async def update(runtime: OciRuntime, container_id: str, resources: dict[str, object]) -> None:
    """Change the limits of a running container. Raises: RuntimeFailedError."""
    # A file: crun cannot open its standard input anew when that is a socket, as asyncio's is.
    file = runtime.root / f".resources-{secrets.token_hex(8)}"
    file.write_text(json.dumps(resources))
    try:
        await _command(runtime, "update", "--resources", file, container_id)
    finally:
        file.unlink(missing_ok=True)


async def delete(runtime: OciRuntime, container_id: str) -> None:
    """Forget a container whose processes have ended; its cgroups are the caller's to remove."""
    state = runtime.root / container_id
    if runtime.path.name == "runc":
        shutil.rmtree(state, ignore_errors=True)
    elif state.exists():
        await run(runtime.command("delete", "--force", container_id), env=ENVIRONMENT)


def known(runtime: OciRuntime) -> list[str]:
    """Return the ids of containers that the runtime has state of."""
    return [entry.name for entry in _entries(runtime.root) if entry.is_dir()]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
