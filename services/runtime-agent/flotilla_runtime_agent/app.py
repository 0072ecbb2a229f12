"""The agent's life: parts are opened, containers adopted, the fleet joined, all is served."""

from __future__ import annotations

import asyncio
import platform
from contextlib import AsyncExitStack

from flotilla_bus import Bus, Credentials, Service, connected
from flotilla_bus.events import event_publisher
from flotilla_runtime_agent import node as this_node
from flotilla_runtime_agent.containers.containers import Containers
from flotilla_runtime_agent.containers.host import Host, Paths
from flotilla_runtime_agent.containers.store import Store
from flotilla_runtime_agent.network.networks import NodeNetworks
from flotilla_runtime_agent.network.tunnel import TunnelSettings
from flotilla_runtime_agent.node import Node
from flotilla_runtime_agent.reporting import Membership, Reports
from flotilla_runtime_agent.runtime.conmon import OciRuntime
from flotilla_runtime_agent.runtime.inotify import Inotify
from flotilla_runtime_agent.server.content import Content
from flotilla_runtime_agent.server.lifecycle import Lifecycle
from flotilla_runtime_agent.server.resources import Resources
from flotilla_runtime_agent.server.streams import Streams
from flotilla_runtime_agent.settings import AgentSettings
from flotilla_runtime_agent.snapshots.layers import ImageStoreAddress
from flotilla_runtime_agent.snapshots.opening import opened
from flotilla_runtime_agent.volumes.local import LocalVolumes
from flotilla_server import notify
from flotilla_server.health import Health, serving_health


async def serve(settings: AgentSettings, stop: asyncio.Event) -> None:
    """Run the agent until told to stop; containers go on without it."""
    this_node.raise_file_limit()
    identifier = this_node.node_id(settings.data_dir)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(
            connected(
                settings.nats_url,
                name="runtime-agent",
                node=identifier,
                credentials=Credentials.read(settings.nats_credentials),
            )
        )
        publisher = await stack.enter_async_context(
            event_publisher(bus, settings.data_dir / "events")
        )
        reports = Reports(publisher)
        host = await _host(settings, identifier, reports, stack)
        containers = Containers(host)
        stack.push_async_callback(host.background.close)
        await containers.adopt()
        tunnel, encryption = host.networks.encryption()
        node = Node(
            identifier=identifier,
            name=settings.node_name or platform.node(),
            address=settings.address or host.networks.address(),
            labels=settings.node_labels,
            root_dir=settings.data_dir,
            runtimes=host.runtimes,
            default_runtime=settings.default_runtime,
            tunnel=tunnel,
            encryption=encryption,
        )
        await node.ask_runtime()
        service = await stack.enter_async_context(
            Service(bus, name="runtime-agent", node=identifier)
        )
        for handlers in (
            Lifecycle(host, containers),
            Streams(host, containers),
            Resources(host, node),
            Content(host, containers),
        ):
            handlers.register(service)
        if settings.health_listen:
            host_name, _, port = settings.health_listen.rpartition(":")
            await stack.enter_async_context(
                serving_health(_health(bus, containers), host_name, int(port))
            )
        await _stay(settings, bus, host, containers, node, reports, stop)


def _health(bus: Bus, containers: Containers) -> Health:
    health = Health("runtime-agent")

    async def check_bus() -> str | None:
        return None if bus.is_connected else "not connected"

    health.add_check("nats", check_bus)
    health.add_gauge("containers", lambda: len(list(containers)))
    health.add_gauge("open_streams", lambda: bus.open_streams)
    return health


async def _stay(
    settings: AgentSettings,
    bus: Bus,
    host: Host,
    containers: Containers,
    node: Node,
    reports: Reports,
    stop: asyncio.Event,
) -> None:
    membership = Membership(
        bus,
        node,
        containers,
        host.networks,
        host.volumes,
        reports,
        token=settings.join_token.read_text().strip() if settings.join_token else "",
        heartbeat_s=settings.heartbeat_s,
        joined=notify.ready,
    )
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(membership.report_forever(), name="reports"),
            tasks.create_task(membership.beat_forever(), name="heartbeat"),
        ]
        await stop.wait()
        for task in running:
            task.cancel()


async def _host(
    settings: AgentSettings, identifier: str, reports: Reports, stack: AsyncExitStack
) -> Host:
    run_dir = settings.run_dir
    for folder in (settings.data_dir, run_dir):
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    store = ImageStoreAddress(settings.image_store_url, str(settings.image_store_token_file or ""))
    snapshots = await stack.enter_async_context(opened(settings.data_dir / "overlay2", store))
    networks = NodeNetworks(
        settings.data_dir / "network",
        run_dir,
        node_id=identifier,
        address=settings.address,
        bridge=settings.bridge,
        table=settings.table,
        tunnel=TunnelSettings(settings.tunnel_port, settings.tunnel_subnet, settings.wireguard_go),
    )
    stack.push_async_callback(networks.close)
    inotify = Inotify()
    stack.callback(inotify.close)
    return Host(
        node_id=identifier,
        paths=Paths(settings.data_dir, run_dir / "c", settings.conmon, settings.init),
        cgroup_parent=settings.cgroup_parent,
        runtimes={
            name: OciRuntime(name, path, run_dir / name) for name, path in settings.runtimes.items()
        },
        default_runtime=settings.default_runtime,
        store=Store(settings.data_dir / "containers"),
        snapshots=snapshots,
        networks=networks,
        volumes=LocalVolumes(settings.data_dir / "volumes"),
        outlet=reports,
        inotify=inotify,
    )
