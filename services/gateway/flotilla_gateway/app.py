"""The gateway's life: opens what it needs, serves the Docker Engine API, closes in turn."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from ssl import SSLContext

from fastapi import FastAPI
from starlette.types import ASGIApp

from flotilla_bus import Bus, Credentials, connected
from flotilla_bus.events import EventPublisher, event_publisher, kept_stream
from flotilla_core.errors import FlotillaError, InvalidArgumentError
from flotilla_database import Database, opened
from flotilla_engine.events import EventMessage
from flotilla_gateway.deps import Ports
from flotilla_gateway.dispatch import GroupDispatcher
from flotilla_gateway.domain.fleet import FleetSettings, opened_fleet
from flotilla_gateway.errors import add_handlers
from flotilla_gateway.middleware import EngineMiddleware
from flotilla_gateway.routes import ROUTERS
from flotilla_gateway.settings import GatewaySettings
from flotilla_server.health import Health, serving_health
from flotilla_server.http import Listener, serving, tls_context
from flotilla_server.notify import ready


class Events:
    """The gateway's own events, on their way to the fleet's stream."""

    def __init__(self, publisher: EventPublisher) -> None:
        """Send by a publisher."""
        self._publisher = publisher

    async def publish(self, event: EventMessage) -> None:
        """Take an event; it is safe on disk when this returns."""
        self._publisher.publish(event)


def make_app(ports: Ports) -> ASGIApp:
    """Build the application that answers the Docker Engine API."""
    app = FastAPI(title="Flotilla", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.ports = ports
    add_handlers(app)
    return EngineMiddleware(GroupDispatcher(app, ROUTERS))


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    listeners = _listeners(settings)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(
            connected(
                settings.nats_url,
                name="gateway",
                credentials=Credentials.read(settings.nats_credentials),
                direct_listen=_host_port(settings.direct_listen),
                direct_advertise=settings.direct_advertise,
            )
        )
        await stack.enter_async_context(kept_stream(bus, replicas=settings.events_replicas))
        database = await stack.enter_async_context(opened(_database_url(settings)))
        publisher = await stack.enter_async_context(
            event_publisher(bus, settings.data_dir / "events")
        )
        events = Events(publisher)
        fleet = await stack.enter_async_context(
            opened_fleet(bus, database, events, _fleet_settings(settings))
        )
        if address := _host_port(settings.health_listen):
            await stack.enter_async_context(serving_health(_health(bus, database), *address))
        app = make_app(Ports(fleet, bus, events))
        await stack.enter_async_context(serving(app, listeners))
        ready()
        await stop.wait()


def _listeners(settings: GatewaySettings) -> list[Listener]:
    context: SSLContext | None = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        context = tls_context(settings.tls_cert, settings.tls_key, settings.tls_ca)
    return [Listener(address, context) for address in settings.listen]


def _database_url(settings: GatewaySettings) -> str:
    return settings.database_url or f"sqlite:///{settings.data_dir}/catalogue.db"


def _fleet_settings(settings: GatewaySettings) -> FleetSettings:
    return FleetSettings(
        strategy=settings.strategy,
        default_address_pools=settings.default_address_pools,
        require_token=settings.require_token,
        ingress=settings.ingress,
        ingress_host=settings.ingress_host,
    )


def _host_port(text: str) -> tuple[str, int] | None:
    """Read HOST:PORT; None if nothing was given.

    Raises:
        InvalidArgumentError: If it is something else.
    """
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise InvalidArgumentError(f"{text}: HOST:PORT is expected")
    return host.strip("[]"), int(port)


def _health(bus: Bus, database: Database) -> Health:
    health = Health("gateway")

    async def check_bus() -> str | None:
        return None if bus.is_connected else "not connected"

    async def check_database() -> str | None:
        try:
            await database.ping()
        except FlotillaError as error:
            return error.message
        return None

    health.add_check("nats", check_bus)
    health.add_check("database", check_database)
    health.add_gauge("open_streams", lambda: bus.open_streams)
    return health
