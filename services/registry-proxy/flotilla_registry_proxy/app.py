"""The registry proxy's life: opens the bus and the image store, serves, closes in turn."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from flotilla_bus import Bus, Credentials, Service, connected
from flotilla_bus.contracts.registry import SERVICE
from flotilla_bus.events import event_publisher
from flotilla_oci.registry.hosts import RegistryHosts, read_hosts
from flotilla_registry_proxy.handlers import Handlers
from flotilla_registry_proxy.image_store import ImageStore
from flotilla_registry_proxy.pull import Means
from flotilla_registry_proxy.settings import RegistryProxySettings
from flotilla_registry_proxy.transfers import Transfers
from flotilla_server.health import Health, serving_health
from flotilla_server.notify import ready


async def serve(settings: RegistryProxySettings, stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    hosts = _hosts(settings)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(
            connected(
                settings.nats_url,
                name=SERVICE,
                credentials=Credentials.read(settings.nats_credentials),
            )
        )
        events = await stack.enter_async_context(event_publisher(bus, settings.data_dir / "events"))
        store = await stack.enter_async_context(
            ImageStore(
                bus,
                settings.image_store_url,
                settings.image_store_token_file,
                settings.image_store_ca,
            )
        )
        transfers = Transfers()
        stack.push_async_callback(transfers.close)
        service = await stack.enter_async_context(Service(bus, name=SERVICE))
        means = Means(store, hosts, transfers, settings.max_concurrent_downloads)
        Handlers(means, events, parallel_uploads=settings.max_concurrent_uploads).register(service)
        if settings.health_listen:
            host, _, port = settings.health_listen.rpartition(":")
            await stack.enter_async_context(serving_health(_health(bus), host, int(port)))
        await service.ready()
        ready()
        await stop.wait()


def _hosts(settings: RegistryProxySettings) -> RegistryHosts:
    hosts = read_hosts(settings.registries) if settings.registries else RegistryHosts()
    return replace(
        hosts,
        insecure=(*hosts.insecure, *settings.insecure_registries),
        mirrors=(*hosts.mirrors, *settings.registry_mirrors),
    )


def _health(bus: Bus) -> Health:
    health = Health(SERVICE)

    async def reach_bus() -> str | None:
        return None if bus.is_connected else "not connected"

    health.add_check("nats", reach_bus)
    return health
