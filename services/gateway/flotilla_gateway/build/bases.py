"""FROM: the images that stages begin with."""

import json
from collections.abc import Awaitable, Callable, Mapping

from flotilla_bus import Bus
from flotilla_bus.contracts import images as store
from flotilla_bus.contracts import registry
from flotilla_core.errors import NotFoundError
from flotilla_engine.records import ImageRecord
from flotilla_oci import references

Say = Callable[[bytes], Awaitable[None]]

_PULL_TIMEOUT_S = 120
_LAST_BYTES = 64 * 1024
_EMPTY_TAR = bytes(10240)


async def known(bus: Bus, name: str, platform: str) -> ImageRecord:
    """Return an image that the fleet has. Raises: NotFoundError."""
    asked = store.ImageRequest(reference=name, platform=platform)
    return (await bus.call(store.RESOLVE, asked)).image


async def pull(
    bus: Bus,
    name: str,
    platform: str,
    credentials: Mapping[str, registry.Credentials],
    say: Say,
) -> None:
    """Pull an image, with what is known for its registry; progress is said as it comes.

    Raises:
        FlotillaError: If it cannot be pulled.
    """
    reference = references.parse(name).with_default_tag()
    asked = registry.PullRequest(
        reference=str(reference),
        platform=platform,
        credentials=credentials.get(reference.domain, registry.Credentials()),
    )
    _, stream = await bus.open(registry.PULL, asked, timeout_s=_PULL_TIMEOUT_S)
    last = b""
    async with stream:
        while data := await stream.read():
            last = (last + data)[-_LAST_BYTES:]
            await say(data)
    if b'"errorDetail"' in last:
        raise NotFoundError(str(json.loads(last.splitlines()[-1]).get("error")))


async def scratch(bus: Bus) -> ImageRecord:
    """Return an image without files."""
    _, stream = await bus.open(store.IMPORT, store.ImportRequest(message="scratch"))
    async with stream:
        await stream.write(_EMPTY_TAR)
        await stream.write_eof()
        output = b""
        while data := await stream.read():
            output += data
    return await known(bus, str(json.loads(output)["status"]), "")
