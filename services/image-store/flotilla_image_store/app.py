"""The image store's life: opens disk, database and bus, serves, closes in turn."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from flotilla_bus import Bus, Credentials, Service, connected
from flotilla_bus.contracts.images import SERVICE
from flotilla_bus.events import event_publisher
from flotilla_core.errors import FlotillaError
from flotilla_database import Database, migrated, opened
from flotilla_image_store.blobs import BlobFolder
from flotilla_image_store.distribution import Distribution
from flotilla_image_store.events import Events
from flotilla_image_store.handlers import Handlers
from flotilla_image_store.images import Images
from flotilla_image_store.settings import ImageStoreSettings
from flotilla_image_store.store import ImageDatabase
from flotilla_server.health import Health, serving_health
from flotilla_server.http import Listener, serving, tls_context
from flotilla_server.notify import ready

_log = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).parent / "migrations"
_SWEEP_INTERVAL_S = 3600.0
_UNUSED_FOR_S = 24 * 3600.0


async def serve(settings: ImageStoreSettings, stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opened(_database_url(settings)))
        credentials = Credentials.read(settings.nats_credentials)
        bus = await stack.enter_async_context(
            connected(settings.nats_url, name=SERVICE, credentials=credentials)
        )
        events = await stack.enter_async_context(event_publisher(bus, settings.data_dir / "events"))
        images = await opened_images(settings.data_dir, database, events)
        service = await stack.enter_async_context(Service(bus, name=SERVICE))
        Handlers(images).register(service)
        distribution = Distribution(images)
        stack.push_async_callback(distribution.close)
        await stack.enter_async_context(
            serving(distribution.application(settings.token_file), [_listener(settings)])
        )
        if settings.health_listen:
            await stack.enter_async_context(_health(settings, database, bus))
        await service.ready()
        sweeper = asyncio.create_task(_sweep_forever(images))
        ready()
        await stop.wait()
        sweeper.cancel()


async def opened_images(data_dir: Path, database: Database, events: Events) -> Images:
    """Bring tables and folders up to date and return the images in them."""
    await migrated(database, _MIGRATIONS, version_table="image_store_version")
    blobs = BlobFolder(data_dir)
    await asyncio.to_thread(blobs.open)
    return Images(ImageDatabase(database), blobs, events)


async def _sweep_forever(images: Images) -> None:
    """Delete now and then what interrupted pulls and loads have left."""
    while True:
        try:
            count = await images.sweep(time.time() - _UNUSED_FOR_S)
        except FlotillaError as error:
            _log.warning("unused blobs stay for now: %s", error)
        except Exception:  # noqa: BLE001 - the next hour may be better
            _log.exception("unused blobs stay for now")
        else:
            if count:
                _log.info("deleted %d unused blobs", count)
        await asyncio.sleep(_SWEEP_INTERVAL_S)


@asynccontextmanager
async def _health(
    settings: ImageStoreSettings, database: Database, bus: Bus
) -> AsyncIterator[None]:
    health = Health(SERVICE)

    async def reach_database() -> str | None:
        await database.ping()
        return None

    async def reach_bus() -> str | None:
        return None if bus.is_connected else "not connected"

    health.add_check("database", reach_database)
    health.add_check("nats", reach_bus)
    host, _, port = settings.health_listen.rpartition(":")
    async with serving_health(health, host, int(port)):
        yield


def _listener(settings: ImageStoreSettings) -> Listener:
    if settings.tls_cert is None or settings.tls_key is None:
        return Listener(f"tcp://{settings.listen}")
    return Listener(f"tls://{settings.listen}", tls_context(settings.tls_cert, settings.tls_key))


def _database_url(settings: ImageStoreSettings) -> str:
    return settings.database_url or f"sqlite:///{settings.data_dir.absolute()}/images.db"
