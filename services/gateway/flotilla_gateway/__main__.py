"""Runs the gateway: `python -m flotilla_gateway`."""

from __future__ import annotations

import asyncio
import sys

from flotilla_gateway.app import serve
from flotilla_gateway.settings import GatewaySettings
from flotilla_server import lifecycle, logs
from flotilla_server.settings import load_or_exit


def main() -> int:
    """Read the settings and serve until a signal ends it."""
    settings = load_or_exit(GatewaySettings, "gateway")
    logs.configure("gateway", level=settings.log_level, log_format=settings.log_format)

    async def run(stop: asyncio.Event) -> None:
        await serve(settings, stop)

    return lifecycle.run(run)


if __name__ == "__main__":
    sys.exit(main())
