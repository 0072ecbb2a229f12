"""Liveness, readiness and metrics of a service, over a very small HTTP endpoint.

`/healthz` answers 200 while the event loop turns; `/readyz` 200 when every check passes and 503
with the failing ones otherwise; `/metrics` the Prometheus text format.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

Check = Callable[[], Awaitable[str | None]]
"""Answers None when fine, else what is wrong."""

_CHECK_TIMEOUT_S = 2.0
_REQUEST_TIMEOUT_S = 10.0


class Health:
    """The checks and the metrics of one service."""

    def __init__(self, service: str) -> None:
        """Start without checks, hence ready."""
        self._service = service
        self._checks: dict[str, Check] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._counters: dict[str, int] = {}

    def add_check(self, name: str, check: Check) -> None:
        """Make readiness depend on this check too."""
        self._checks[name] = check

    def add_gauge(self, name: str, read: Callable[[], float]) -> None:
        """Publish `flotilla_<name>`, read when asked."""
        self._gauges[name] = read

    def count(self, name: str, by: int = 1) -> None:
        """Add to the counter `flotilla_<name>_total`."""
        self._counters[name] = self._counters.get(name, 0) + by

    async def failures(self) -> dict[str, str]:
        """Return the checks that fail, with what each says."""
        results = await asyncio.gather(*(self._tried(check) for check in self._checks.values()))
        return {
            name: result
            for name, result in zip(self._checks, results, strict=True)
            if result is not None
        }

    async def _tried(self, check: Check) -> str | None:
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                return await check()
        except TimeoutError:
            return f"no answer within {_CHECK_TIMEOUT_S:g} s"
        except Exception as error:  # noqa: BLE001 - a check that raises is a check that fails
            return str(error) or type(error).__name__

    def metrics(self) -> str:
        """Return the metrics in the Prometheus text format."""
        label = f'{{service="{self._service}"}}'
        gauges = {name: read() for name, read in self._gauges.items()}
        gauges |= {
            "resident_memory_bytes": _resident_memory_bytes(),
            "open_files": float(len(list(Path("/proc/self/fd").iterdir()))),
            "tasks": float(len(asyncio.all_tasks())),
        }
        lines = []
        for name, value in sorted(gauges.items()):
            lines += [f"# TYPE flotilla_{name} gauge", f"flotilla_{name}{label} {value:.10g}"]
        for name, total in sorted(self._counters.items()):
            lines += [
                f"# TYPE flotilla_{name}_total counter",
                f"flotilla_{name}_total{label} {total}",
            ]
        return "\n".join(lines) + "\n"

    async def answer(self, path: str) -> tuple[HTTPStatus, str, str] | None:
        """Return status, content type and body for one of the health paths, else None."""
        match path:
            case "/healthz":
                return HTTPStatus.OK, "application/json", '{"status":"ok"}'
            case "/readyz":
                failures = await self.failures()
                body = json.dumps({"status": "failing" if failures else "ok", "failures": failures})
                status = HTTPStatus.SERVICE_UNAVAILABLE if failures else HTTPStatus.OK
                return status, "application/json", body
            case "/metrics":
                return HTTPStatus.OK, "text/plain; version=0.0.4", self.metrics()
            case _:
                return None


@asynccontextmanager
async def serving_health(health: Health, host: str, port: int) -> AsyncIterator[int]:
    """Serve the health paths over HTTP while the context lasts.

    Yields:
        The port, chosen by the system if 0 was given.
    """

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                await _answer_one(health, reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, host, port)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _answer_one(
    health: Health, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    path = words[1].partition("?")[0] if len(words) > 1 else ""
    status, content_type, body = await health.answer(path) or (
        HTTPStatus.NOT_FOUND,
        "application/json",
        '{"message":"page not found"}',
    )
    payload = body.encode()
    writer.write(
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode()
    )
    if words[0] != "HEAD":
        writer.write(payload)
    await writer.drain()


def _resident_memory_bytes() -> float:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return float(int(pages) * os.sysconf("SC_PAGE_SIZE"))
