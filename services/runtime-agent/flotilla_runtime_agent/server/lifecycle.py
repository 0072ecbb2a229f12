"""Handlers of containers' lives: create to remove, and what is asked of them in between."""

from __future__ import annotations

from flotilla_bus import Empty, Service
from flotilla_bus.contracts import agent
from flotilla_core.errors import ConflictError
from flotilla_runtime_agent.containers.containers import Containers
from flotilla_runtime_agent.containers.creation import Wanted
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.states import not_running
from flotilla_runtime_agent.containers.updates import connect, disconnect, rename, update
from flotilla_runtime_agent.runtime import conmon


class Lifecycle:
    """Handlers that change containers."""

    def __init__(self, host: Host, containers: Containers) -> None:
        """Serve these containers."""
        self._host = host
        self._containers = containers

    def register(self, service: Service) -> None:
        """Serve."""
        service.handle(agent.CREATE, self.create)
        service.handle(agent.START, self.start)
        service.handle(agent.STOP, self.stop)
        service.handle(agent.RESTART, self.restart)
        service.handle(agent.KILL, self.kill)
        service.handle(agent.PAUSE, self.pause)
        service.handle(agent.UNPAUSE, self.unpause)
        service.handle(agent.RENAME, self.rename)
        service.handle(agent.UPDATE, self.update)
        service.handle(agent.REMOVE, self.remove)
        service.handle(agent.INSPECT, self.inspect)
        service.handle(agent.RESIZE, self.resize)
        service.handle(agent.SIZES, self.sizes)
        service.handle(agent.CONNECT, self.connect)
        service.handle(agent.DISCONNECT, self.disconnect)

    def _answer(self, container_id: str, warnings: list[str] | None = None) -> agent.RecordAnswer:
        record = self._containers.get(container_id).record
        return agent.RecordAnswer(record=record, warnings=warnings or [])

    async def create(self, request: agent.CreateRequest) -> agent.RecordAnswer:
        """``container.create``."""
        for state in request.networks:
            await self._host.networks.apply(state)
        container = await self._containers.create(
            Wanted(
                id=request.id,
                name=request.name,
                image=request.image,
                image_reference=request.image_reference,
                config=request.config,
                host_config=request.host_config,
                endpoints=request.endpoints,
                volumes=request.volumes,
                volumes_from=request.volumes_from,
                image_mounts=request.image_mounts,
            )
        )
        return agent.RecordAnswer(record=container.record)

    async def start(self, request: agent.StartRequest) -> agent.RecordAnswer:
        """``container.start``."""
        container = self._containers.get(request.container)
        for state in request.networks:
            await self._host.networks.apply(state)
        await container.start(request.endpoints)
        return agent.RecordAnswer(record=container.record)

    async def stop(self, request: agent.StopRequest) -> agent.RecordAnswer:
        """``container.stop``."""
        container = self._containers.get(request.container)
        await container.stop(signal_name=request.signal, timeout_s=request.timeout_s)
        return agent.RecordAnswer(record=container.record)

    async def restart(self, request: agent.StopRequest) -> agent.RecordAnswer:
        """``container.restart``."""
        container = self._containers.get(request.container)
        await container.restart(signal_name=request.signal, timeout_s=request.timeout_s)
        return agent.RecordAnswer(record=container.record)

    async def kill(self, request: agent.KillRequest) -> agent.RecordAnswer:
        """``container.kill``."""
        container = self._containers.get(request.container)
        await container.kill(request.signal, request.reference)
        return agent.RecordAnswer(record=container.record)

    async def pause(self, request: agent.ContainerRequest) -> agent.RecordAnswer:
        """``container.pause``."""
        await self._containers.get(request.container).pause()
        return self._answer(request.container)

    async def unpause(self, request: agent.ContainerRequest) -> agent.RecordAnswer:
        """``container.unpause``."""
        await self._containers.get(request.container).unpause()
        return self._answer(request.container)

    async def rename(self, request: agent.RenameRequest) -> agent.RecordAnswer:
        """``container.rename``."""
        await rename(self._containers.get(request.container), request.name)
        return self._answer(request.container)

    async def update(self, request: agent.UpdateRequest) -> agent.RecordAnswer:
        """``container.update``."""
        await update(self._containers.get(request.container), request.update)
        return self._answer(request.container)

    async def remove(self, request: agent.RemoveRequest) -> agent.RemoveAnswer:
        """``container.remove``."""
        container = self._containers.get(request.container)
        volumes = await container.remove(force=request.force, volumes=request.volumes)
        return agent.RemoveAnswer(revision=container.record.revision, volumes=volumes)

    async def inspect(self, request: agent.ContainerRequest) -> agent.RecordAnswer:
        """``container.inspect``."""
        return self._answer(request.container)

    async def resize(self, request: agent.ResizeRequest) -> Empty:
        """``container.resize``; of an exec too."""
        container = self._containers.get(request.container)
        if request.exec_id:
            started = container.execs.get(request.exec_id)
            if not started.record.running:
                raise ConflictError(f"exec process is not running: {request.exec_id}")
            conmon.resize(started.folder, request.height, request.width)
            return Empty()
        if not container.is_live:
            raise not_running(container.id)
        bundle = self._host.paths.bundle(container.id)
        conmon.resize(bundle, request.height, request.width)
        container.event("resize", height=str(request.height), width=str(request.width))
        return Empty()

    async def sizes(self, request: agent.SizesRequest) -> agent.SizesAnswer:
        """``container.sizes``."""
        sizes = {}
        for container_id in request.containers:
            if any(container.id == container_id for container in self._containers):
                sizes[container_id] = await self._host.snapshots.size(container_id)
        return agent.SizesAnswer(sizes=sizes)

    async def connect(self, request: agent.ConnectRequest) -> agent.RecordAnswer:
        """``network.connect``."""
        if request.network is not None:
            await self._host.networks.apply(request.network)
        await connect(self._containers.get(request.container), request.endpoint)
        return self._answer(request.container)

    async def disconnect(self, request: agent.DisconnectRequest) -> agent.RecordAnswer:
        """``network.disconnect``."""
        container = self._containers.get(request.container)
        await disconnect(container, request.network_id, request.network_name)
        return self._answer(request.container)
