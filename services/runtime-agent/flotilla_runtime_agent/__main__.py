"""Starts the runtime agent: ``python -m flotilla_runtime_agent``."""

from __future__ import annotations

import asyncio
import sys

from flotilla_runtime_agent.app import serve
from flotilla_runtime_agent.settings import AgentSettings
from flotilla_server import lifecycle, logs
from flotilla_server.settings import load_or_exit


def main() -> int:
    """Run until told to stop."""
    settings = load_or_exit(AgentSettings, "runtime-agent")
    logs.configure("runtime-agent", level=settings.log_level, log_format=settings.log_format)

    async def run(stop: asyncio.Event) -> None:
        await serve(settings, stop)

    return lifecycle.run(run)


if __name__ == "__main__":
    sys.exit(main())
