"""All containers of this node: made, found, and found again when the agent starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from flotilla_core.errors import ConflictError, NotFoundError
from flotilla_engine.host_config import HostConfig
from flotilla_engine.records import ContainerChange, ImageRecord
from flotilla_engine.sharing import Shared
from flotilla_runtime_agent.containers import adoption
from flotilla_runtime_agent.containers.container import Container
from flotilla_runtime_agent.containers.creation import Creation, Wanted
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.peers import Peer
from flotilla_runtime_agent.containers.store import Stored
from flotilla_runtime_agent.spec.mounts import PlannedMount


class Containers:
    """The containers by id."""

    def __init__(self, host: Host) -> None:
        """Know none yet; ``adopt`` reads the disk."""
        self._host = host
        self._containers: dict[str, Container] = {}
        self._images: Shared[ImageRecord] = Shared()
        self._host_configs: Shared[HostConfig] = Shared()
        self._creating: set[str] = set()
        self._creation = Creation(host, self._mounts_of)

    def __iter__(self) -> Iterator[Container]:
        """Go over all containers."""
        return iter(list(self._containers.values()))

    def get(self, container_id: str) -> Container:
        """Return a container. Raises: NotFoundError with dockerd's text."""
        found = self._containers.get(container_id)
        if found is None or found.is_gone:
            raise NotFoundError(f"No such container: {container_id}")
        return found

    def find(self, reference: str) -> Container:
        """Return a container by id or name. Raises: NotFoundError."""
        name = reference.removeprefix("/")
        for container in self._containers.values():
            if reference == container.id or name == container.record.name:
                return container
        return self.get(reference)

    def revisions(self) -> dict[str, int]:
        """Return how far each container is."""
        return {item.id: item.record.revision for item in self}

    def changes(self, container_ids: Iterable[str]) -> list[ContainerChange]:
        """Return these containers as they are, but for those that have gone."""
        found = [self._containers[one] for one in container_ids if one in self._containers]
        return [
            ContainerChange(id=item.id, revision=item.record.revision, record=item.record)
            for item in found
        ]

    def _peer(self, reference: str) -> Peer:
        peer = self.find(reference)
        process = peer.process
        if process is None:
            raise ConflictError(f"cannot join network of a non running container: {peer.id}")
        if peer.record.state.restarting:
            raise ConflictError(
                f"Container {peer.id} is restarting, wait until the container is running"
            )
        return Peer(peer.record, process)

    def _mounts_of(self, reference: str) -> Sequence[PlannedMount]:
        return self.find(reference).stored.mounts

    async def create(self, wanted: Wanted) -> Container:
        """Make a container; the same id again finds the first one.

        Raises:
            FlotillaError: With dockerd's text; nothing is left then.
        """
        known = self._containers.get(wanted.id)
        if known is not None:
            return known
        if wanted.id in self._creating:
            raise ConflictError(f"container {wanted.id} is being created")
        self._creating.add(wanted.id)
        try:
            container = self._known(await self._creation.make(wanted))
        finally:
            self._creating.discard(wanted.id)
        container.save()
        container.event("create")
        return container

    def _known(self, stored: Stored) -> Container:
        for mount in stored.mounts:
            if mount.type == "volume":
                self._host.volumes.hold(mount.name, stored.record.id)
        stored.image = self._images.of(stored.image)
        stored.record.host_config = self._host_configs.of(stored.record.host_config)
        container = Container(self._host, stored, self._peer, self._forget)
        self._containers[stored.record.id] = container
        return container

    def _forget(self, container_id: str) -> None:
        self._containers.pop(container_id, None)

    async def adopt(self) -> None:
        """Make memory, disk and kernel agree again, after any end of the agent or the host."""
        found = self._host.store.load()
        monitors = await adoption.prepare(self._host, found)
        wanted = []
        for stored in found:
            container = self._known(stored)
            if await adoption.adopt(container, monitors):
                wanted.append(container)
        self._host.background.start(adoption.restart(wanted), "restarts")
