"""Handlers of the node's networks, volumes and image layers, and of the node itself."""

from __future__ import annotations

from flotilla_bus import Empty, Service
from flotilla_bus.contracts import agent
from flotilla_engine.records import NetworkState
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.node import Node


class Resources:
    """Handlers that pass on to the parts beside the containers."""

    def __init__(self, host: Host, node: Node) -> None:
        """Serve this host."""
        self._host = host
        self._node = node

    def register(self, service: Service) -> None:
        """Serve."""
        service.handle(agent.INFO, self.info)
        service.handle(agent.NETWORK_APPLY, self.network_apply)
        service.handle(agent.NETWORK_REMOVE, self.network_remove)
        service.handle(agent.VOLUME_CREATE, self.volume_create)
        service.handle(agent.VOLUME_INSPECT, self.volume_inspect)
        service.handle(agent.VOLUME_LIST, self.volume_list)
        service.handle(agent.VOLUME_REMOVE, self.volume_remove)
        service.handle(agent.VOLUME_USAGE, self.volume_usage)
        service.handle(agent.IMAGE_FETCH, self.image_fetch)
        service.handle(agent.IMAGE_RELEASE, self.image_release)

    async def info(self, _: Empty) -> agent.InfoAnswer:
        """``info``."""
        return agent.InfoAnswer(info=self._node.info())

    async def network_apply(self, state: NetworkState) -> Empty:
        """``network.apply``."""
        await self._host.networks.apply(state)
        return Empty()

    async def network_remove(self, request: agent.NetworkRequest) -> Empty:
        """``network.remove``."""
        await self._host.networks.remove_network(request.network_id)
        return Empty()

    async def volume_create(self, request: agent.VolumeAnswer) -> agent.VolumeAnswer:
        """``volume.create``."""
        return agent.VolumeAnswer(volume=await self._host.volumes.create(request.volume))

    async def volume_inspect(self, request: agent.VolumeRequest) -> agent.VolumeAnswer:
        """``volume.inspect``."""
        return agent.VolumeAnswer(volume=await self._host.volumes.inspect(request.name))

    async def volume_list(self, _: Empty) -> agent.VolumeList:
        """``volume.list``."""
        return agent.VolumeList(volumes=await self._host.volumes.list())

    async def volume_remove(self, request: agent.VolumeRequest) -> Empty:
        """``volume.remove``."""
        await self._host.volumes.remove(request.name, force=request.force)
        return Empty()

    async def volume_usage(self, request: agent.NamesRequest) -> agent.UsageAnswer:
        """``volume.usage``."""
        names = request.names or [item.name for item in await self._host.volumes.list()]
        return agent.UsageAnswer(usage=await self._host.volumes.usage(names))

    async def image_fetch(self, request: agent.ImageRequest) -> Empty:
        """``image.fetch``."""
        await self._host.snapshots.fetch(request.image)
        return Empty()

    async def image_release(self, request: agent.KeepImages) -> agent.ReclaimedAnswer:
        """``image.release``."""
        return agent.ReclaimedAnswer(bytes=await self._host.snapshots.release(request.images))
