"""A real nats-server for tests: on a port of its own choice, killed and started again at will."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

_STARTS_WITHIN_S = 30


class NatsServer:
    """A nats-server process with JetStream in a folder of its own.

    Its port is chosen by the kernel at the first start, and kept over restarts.
    """

    def __init__(self, folder: Path, config: str = "") -> None:
        """Use a folder; ``config`` is added to the server's configuration."""
        self._folder = folder
        self._config = config
        self._port = -1
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The URL that clients connect to."""
        return f"nats://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start, and return when clients can connect."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ports = self._folder / "ports"
        ports.mkdir(exist_ok=True)
        for old in ports.iterdir():
            old.unlink()
        config = self._folder / "nats.conf"
        config.write_text(
            f"host: 127.0.0.1\nport: {self._port}\nmax_payload: 8MB\n"
            f'ports_file_dir: "{ports}"\n'
            f'jetstream {{ store_dir: "{self._folder / "jetstream"}" }}\n{self._config}\n'
        )
        with (self._folder / "nats.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                "nats-server", "-c", str(config), stdout=output, stderr=output
            )
        async with asyncio.timeout(_STARTS_WITHIN_S):
            while not await asyncio.to_thread(self._is_up, ports):
                if self._process.returncode is not None:
                    log = (self._folder / "nats.log").read_text()
                    raise RuntimeError(f"nats-server has ended: {log[-2000:]}")
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it; harmless when it does not run."""
        await self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze it: connections stay, nothing moves."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
        await process.wait()

    def _is_up(self, ports: Path) -> bool:
        """Learn the port that the server got, and try it."""
        for file in ports.iterdir():
            try:
                urls = json.loads(file.read_text())["nats"]
            except (ValueError, KeyError):
                return False
            self._port = int(urls[0].rpartition(":")[2])
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return True
        return False


@contextlib.asynccontextmanager
async def nats_server(folder: Path, config: str = "") -> AsyncIterator[NatsServer]:
    """Run a nats-server for the length of the block."""
    server = NatsServer(folder, config)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
