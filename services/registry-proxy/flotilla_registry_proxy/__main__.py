"""Runs the registry proxy: `python -m flotilla_registry_proxy`."""

import asyncio
import sys

from flotilla_registry_proxy.app import serve
from flotilla_registry_proxy.settings import RegistryProxySettings
from flotilla_server import lifecycle, logs
from flotilla_server.settings import load_or_exit


def main() -> int:
    """Read the settings and serve until a signal ends it."""
    settings = load_or_exit(RegistryProxySettings, "registry-proxy")
    logs.configure("registry-proxy", level=settings.log_level, log_format=settings.log_format)

    async def run(stop: asyncio.Event) -> None:
        await serve(settings, stop)

    return lifecycle.run(run)


if __name__ == "__main__":
    sys.exit(main())
