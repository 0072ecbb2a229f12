"""Runs the image store: `python -m flotilla_image_store`."""

import asyncio
import sys

from flotilla_image_store.app import serve
from flotilla_image_store.settings import ImageStoreSettings
from flotilla_server import lifecycle, logs
from flotilla_server.settings import load_or_exit


def main() -> int:
    """Read the settings and serve until a signal ends it."""
    settings = load_or_exit(ImageStoreSettings, "image-store")
    logs.configure("image-store", level=settings.log_level, log_format=settings.log_format)

    async def run(stop: asyncio.Event) -> None:
        await serve(settings, stop)

    return lifecycle.run(run)


if __name__ == "__main__":
    sys.exit(main())
