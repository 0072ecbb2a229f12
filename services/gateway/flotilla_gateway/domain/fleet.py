"""The gateway's domain, put together: what the routes use."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from flotilla_bus import Bus, Service
from flotilla_bus.contracts import gateway
from flotilla_core.errors import FlotillaError
from flotilla_database import Database, migrated
from flotilla_gateway.catalogue.catalogue import MIGRATIONS, Catalogue
from flotilla_gateway.catalogue.containers import ABANDONED_S
from flotilla_gateway.domain.calls import NodeCalls
from flotilla_gateway.domain.containers import Containers
from flotilla_gateway.domain.creation import Creation
from flotilla_gateway.domain.events import EventSink
from flotilla_gateway.domain.ipam import DEFAULT_POOLS, parsed_pools
from flotilla_gateway.domain.learning import Learning
from flotilla_gateway.domain.locator import Locator
from flotilla_gateway.domain.moves import VolumeMoves
from flotilla_gateway.domain.networks import Networks
from flotilla_gateway.domain.nodes import Nodes
from flotilla_gateway.domain.pusher import NetworkPusher
from flotilla_gateway.domain.sync import NodeSync
from flotilla_gateway.domain.volumes import Volumes
from flotilla_gateway.ingress.ingress import Ingress
from flotilla_gateway.placement.choose import Strategy

log = logging.getLogger(__name__)

_BURY_EVERY_S = 600.0
_BURIED_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class FleetSettings:
    """What operators may set.

    Attributes:
        strategy: How nodes are ranked: spread, binpack or random.
        default_address_pools: ``10.200.0.0/16:24,…``; empty: dockerd's.
        require_token: Whether a node that is not known yet needs a join token.
        ingress: Whether ports published in the fleet are also served at the gateway.
        ingress_host: The address they are served at; empty: all.
    """

    strategy: Strategy = Strategy.SPREAD
    default_address_pools: str = ""
    require_token: bool = False
    ingress: bool = True
    ingress_host: str = ""


@dataclass(frozen=True)
class Fleet:
    """What the routes use."""

    id: str
    nodes: Nodes
    locator: Locator
    creation: Creation
    containers: Containers
    networks: Networks
    volumes: Volumes
    calls: NodeCalls
    bus: Bus


@contextlib.asynccontextmanager
async def opened_fleet(
    bus: Bus, database: Database, events: EventSink, settings: FleetSettings
) -> AsyncIterator[Fleet]:
    """Give the fleet while the context lasts; nodes can join as soon as it is given."""
    await migrated(database, MIGRATIONS)
    catalogue = Catalogue(database)
    fleet_id = await catalogue.nodes.fleet_id()
    nodes = Nodes(catalogue.nodes)
    bus.name_of_node = nodes.name_of
    calls = NodeCalls(bus, nodes)
    pusher = NetworkPusher(calls, catalogue.networks, nodes)
    nodes.returned.append(lambda _: pusher.look())
    learning = Learning(catalogue, pusher)
    locator = Locator(catalogue.containers, nodes)
    pools = parsed_pools(settings.default_address_pools) or DEFAULT_POOLS
    networks = Networks(calls, catalogue, learning, pusher, events, fleet_id=fleet_id, pools=pools)
    containers = Containers(calls, catalogue, nodes, locator, networks, learning)
    creation = Creation(
        bus,
        calls,
        catalogue,
        nodes,
        locator,
        networks,
        learning,
        events,
        strategy=settings.strategy,
    )
    sync = NodeSync(bus, catalogue, nodes, learning, require_token=settings.require_token)
    async with (
        asyncio.TaskGroup() as tasks,
        Service(bus, name=gateway.SERVICE) as service,
    ):
        running = [
            tasks.create_task(pusher.run(), name="network pusher"),
            tasks.create_task(sync.listen(), name="heartbeats"),
            tasks.create_task(nodes.watch(), name="node watch"),
            tasks.create_task(_sweep(catalogue, creation), name="catalogue sweep"),
        ]
        if settings.ingress:
            ingress = Ingress(catalogue.containers, nodes, settings.ingress_host)
            learning.listeners.append(ingress.wake)
            running.append(tasks.create_task(ingress.run(), name="ingress"))
        sync.serve(service)
        moves = VolumeMoves(bus, catalogue.volumes, nodes)
        service.handle_stream(gateway.VOLUME_MOVE, moves.move)
        await service.ready()
        try:
            yield Fleet(
                id=fleet_id,
                nodes=nodes,
                locator=locator,
                creation=creation,
                containers=containers,
                networks=networks,
                volumes=Volumes(calls, catalogue, nodes, events),
                calls=calls,
                bus=bus,
            )
        finally:
            for task in running:
                task.cancel()


async def _sweep(catalogue: Catalogue, creation: Creation) -> None:
    """Attend to what is being made here, and forget what has no end of its own."""
    buried_at = time.monotonic()
    while True:
        await asyncio.sleep(ABANDONED_S / 3)
        try:
            await catalogue.containers.attend(creation.under_way)
            await catalogue.containers.sweep_abandoned()
            if time.monotonic() - buried_at > _BURY_EVERY_S:
                buried_at = time.monotonic()
                await catalogue.containers.sweep_buried(time.time() - _BURIED_S)
        except FlotillaError as error:
            log.warning("the catalogue is not swept: %s", error)
