"""Twin of flotilla_server's logs.py, health.py and lifecycle.py."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Iterator

import pytest

from flotilla_core.errors import UnavailableError
from flotilla_server import lifecycle, logs
from flotilla_server.health import Health, serving_health


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.usefixtures("root_logger")
def test_secrets_are_never_written(
    capsys: pytest.CaptureFixture[str], log_format: logs.LogFormat
) -> None:
    logs.configure("gateway", log_format=log_format)
    log = logging.getLogger("test")
    log.info("dial %s", "postgresql://me:hunter2@db/x", extra={"password": "hunter2", "node": "n1"})
    log.info('login {"username":"me","password":"hunter2"} with Bearer hunter2hunter2')
    text = capsys.readouterr().err
    assert "hunter2" not in text
    assert "n1" in text
    if log_format == "json":
        assert json.loads(text.splitlines()[0])["service"] == "gateway"


async def _get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read(-1)).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split(" ")[1]), body


async def test_readiness_names_what_fails() -> None:
    health = Health("gateway")
    failure: str | None = "not connected"

    async def check() -> str | None:
        return failure

    health.add_check("nats", check)
    health.count("requests", 2)
    async with serving_health(health, "127.0.0.1", 0) as port:
        assert await _get(port, "/healthz") == (200, '{"status":"ok"}')
        status, body = await _get(port, "/readyz")
        assert (status, json.loads(body)["failures"]) == (503, {"nats": "not connected"})
        failure = None
        assert (await _get(port, "/readyz"))[0] == 200
        assert 'flotilla_requests_total{service="gateway"} 2\n' in (await _get(port, "/metrics"))[1]
        assert (await _get(port, "/nothing"))[0] == 404


def test_sigterm_ends_the_service_well() -> None:
    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(30):
            await stop.wait()

    assert lifecycle.run(main) == 0


def test_an_expected_failure_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def main(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_failing())

    async def _failing() -> None:
        raise UnavailableError("nats://127.0.0.1:1 does not answer")

    assert lifecycle.run(main) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "nats://127.0.0.1:1 does not answer"
    ]
    assert caplog.records[0].exc_info is None
