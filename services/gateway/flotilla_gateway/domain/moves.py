"""Moving a volume that nobody uses to another node: its content goes as a tar through here."""

from flotilla_bus import Accept, Bus, Empty, Stream
from flotilla_bus.contracts import agent, gateway
from flotilla_core.errors import ConflictError, FlotillaError, InvalidArgumentError
from flotilla_engine.records import VolumeRecord
from flotilla_engine.sizes import human_size
from flotilla_gateway.catalogue.volumes import Volumes
from flotilla_gateway.domain.nodes import Nodes, NodeStatus

_SAY_EVERY_BYTES = 64 * 1024 * 1024


class VolumeMoves:
    """Moves volumes between nodes."""

    def __init__(self, bus: Bus, volumes: Volumes, nodes: Nodes) -> None:
        self._bus = bus
        self._volumes = volumes
        self._nodes = nodes

    async def move(self, request: gateway.VolumeMoveRequest, accept: Accept[Empty]) -> None:
        """Serve ``volumes.move``: progress goes out as text.

        The old copy is removed once the new one is whole and the catalogue points at it.
        """
        target = await self._nodes.reachable((await self._nodes.find(request.node)).id)
        volume = await self._volumes.get(request.name)
        if volume.node_id == target.id:
            raise InvalidArgumentError(f"volume {volume.name} is on node {target.name} already")
        await self._refuse_used(volume.name)
        if not volume.node_id:
            await self._volumes.bind(volume.name, target.id)
            progress = await accept(Empty())
            await progress.write(f"{volume.name}: empty so far, bound to {target.name}\n".encode())
            return
        source = await self._nodes.reachable(volume.node_id)
        if volume.options:
            await self._move_record(volume, source.id, target, accept)
            return
        name = agent.VolumeRequest(name=volume.name)
        answer, content = await self._bus.open(agent.VOLUME_EXPORT, name, node=source.id)
        async with content:
            progress = await accept(Empty())
            await progress.write(f"{volume.name}: {source.name} -> {target.name}\n".encode())
            volume = answer.volume.model_copy(update={"node_id": target.id})
            copy = answer.model_copy(update={"volume": volume})
            try:
                await self._copy(content, copy, target.id, progress)
                await self._refuse_used(volume.name)
            except FlotillaError:
                await self._forget_copy(volume.name, target.id)
                raise
        found = await self._bus.call(agent.VOLUME_INSPECT, name, node=target.id)
        await self._volumes.move(volume.name, target.id, found.volume.mountpoint)
        await self._bus.call(agent.VOLUME_REMOVE, name, node=source.id)
        await progress.write(f"{volume.name}: on {target.name} now\n".encode())

    async def _move_record(
        self, volume: VolumeRecord, source_id: str, target: NodeStatus, accept: Accept[Empty]
    ) -> None:
        """Move a volume whose options say where its content is: nothing is copied."""
        there = agent.VolumeAnswer(volume=volume.model_copy(update={"node_id": target.id}))
        made = await self._bus.call(agent.VOLUME_CREATE, there, node=target.id)
        progress = await accept(Empty())
        await self._volumes.move(volume.name, target.id, made.volume.mountpoint)
        await self._bus.call(
            agent.VOLUME_REMOVE, agent.VolumeRequest(name=volume.name), node=source_id
        )
        said = f"{volume.name}: on {target.name} now; its content is where its options say\n"
        await progress.write(said.encode())

    async def _refuse_used(self, name: str) -> None:
        if users := (await self._volumes.users()).get(name):
            raise ConflictError(f"volume {name} is in use - [{', '.join(users)}]")

    async def _copy(
        self, content: Stream, copy: agent.VolumeAnswer, target: str, progress: Stream
    ) -> None:
        _, sink = await self._bus.open(agent.VOLUME_IMPORT, copy, node=target)
        async with sink:
            sent = said = 0
            while data := await content.read():
                await sink.write(data)
                sent += len(data)
                if sent - said >= _SAY_EVERY_BYTES:
                    said = sent
                    await progress.write(f"{copy.volume.name}: {human_size(sent)}\n".encode())
            await sink.write_eof()
            while await sink.read():
                continue  # the target ends its side when all of it is on disk

    async def _forget_copy(self, name: str, node_id: str) -> None:
        try:
            request = agent.VolumeRequest(name=name, force=True)
            await self._bus.call(agent.VOLUME_REMOVE, request, node=node_id)
        except FlotillaError:
            return
