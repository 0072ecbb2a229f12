"""What nodes tell the gateway: that they are there, what they have, what has changed."""

import asyncio
import logging
import time
from collections.abc import Sequence

from flotilla_bus import Bus, Service
from flotilla_bus.contracts import agent, gateway
from flotilla_bus.methods import Empty
from flotilla_core.errors import (
    ConflictError,
    FlotillaError,
    NotFoundError,
    PermissionDeniedError,
)
from flotilla_engine.records import NetworkState, NodeRecord, VolumeRecord
from flotilla_gateway.catalogue.catalogue import Catalogue
from flotilla_gateway.domain.learning import Learning
from flotilla_gateway.domain.nodes import Nodes

log = logging.getLogger(__name__)

_YOUNG_S = 30.0
_CLOCKS_DIFFER_S = 3600.0
_ASK_WITHIN_S = 5.0


class NodeSync:
    """Serves the gateway's contract towards nodes and the ``flotilla`` command."""

    def __init__(
        self,
        bus: Bus,
        catalogue: Catalogue,
        nodes: Nodes,
        learning: Learning,
        *,
        require_token: bool = False,
    ) -> None:
        self._bus = bus
        self._catalogue = catalogue
        self._nodes = nodes
        self._learning = learning
        self._require_token = require_token

    def serve(self, service: Service) -> None:
        """Answer the contract's methods."""
        service.handle(gateway.JOIN, self.join)
        service.handle(gateway.SYNC, self.sync)
        service.handle(gateway.NODES, self.list_nodes)
        service.handle(gateway.NODE_REMOVE, self.remove_node)
        service.handle(gateway.NODE_UPDATE, self.update_node)
        service.handle(gateway.TOKEN_CREATE, self.create_token)

    async def listen(self) -> None:
        """Follow the nodes' signs of life until cancelled."""
        async with self._bus.subscribe(gateway.HEARTBEAT) as heartbeats:
            async for heartbeat in heartbeats:
                if self._nodes.has_reconnected(heartbeat.speaker, heartbeat.body.connections):
                    self._bus.ask_again(heartbeat.speaker)
                if self._nodes.heard(heartbeat.speaker):
                    try:
                        await self._catalogue.nodes.seen(heartbeat.speaker)
                    except Exception:
                        log.exception("writing a heartbeat failed")

    async def join(self, request: gateway.JoinRequest, speaker: str) -> gateway.JoinAnswer:
        """Take in a node and make the catalogue equal to what it has."""
        node = request.info.node
        if node.id != speaker:
            raise PermissionDeniedError(f"node {speaker} may not join as {node.id}")
        if self._require_token and speaker not in await self._nodes.known():
            await self._catalogue.nodes.check_token(request.token)
        moved = await self._has_moved(node)
        await self._nodes.joined(request.info, request.session)
        if moved:
            networks = await self._catalogue.networks.of_node(node.id)
            await self._catalogue.networks.changed(networks)
            self._learning.touch(networks)
        stray, wanted = await self._learning.compared(speaker, request.revisions)
        await self._drop_unknown(speaker, set(request.revisions))
        log.info(
            "node %s joined with %d containers, %d of them stray, %d to be told of",
            node.name,
            len(request.revisions),
            len(stray),
            len(wanted),
        )
        states = await self._networks_of(speaker)
        return gateway.JoinAnswer(stray=stray, wanted=wanted, networks=states)

    async def _has_moved(self, node: NodeRecord) -> bool:
        """Say whether others know another address, or another end of the tunnels, of the node.

        Raises:
            ConflictError: If the end of the tunnels is another node's.
        """
        known = await self._nodes.known()
        for other in known.values():
            end = other.info.node.tunnel
            if other.id == node.id or end is None or node.tunnel is None:
                continue
            if end.address == node.tunnel.address or end.public_key == node.tunnel.public_key:
                raise ConflictError(f"node {other.name} has this WireGuard key or address already")
        before = known.get(node.id)
        if before is None:
            return False
        there = before.info.node
        return (there.address, there.tunnel) != (node.address, node.tunnel)

    async def _drop_unknown(self, node_id: str, present: set[str]) -> None:
        """Forget containers that their node does not have; it is the truth.

        It is asked for young ones: they may have been made after it took stock.
        """
        now = time.time()
        made = await self._catalogue.containers.made(node_id, now + _CLOCKS_DIFFER_S)
        missing = made.keys() - present
        old = {one for one in missing if made[one] < now - _YOUNG_S}
        for container_id in old:
            await self._learning.removed(node_id, container_id)
        await asyncio.gather(*(self._drop_if_gone(node_id, one) for one in missing - old))

    async def _drop_if_gone(self, node_id: str, container_id: str) -> None:
        request = agent.ContainerRequest(container=container_id)
        try:
            await self._bus.call(agent.INSPECT, request, node=node_id, timeout_s=_ASK_WITHIN_S)
        except NotFoundError:
            await self._learning.removed(node_id, container_id)
        except FlotillaError as error:
            log.info("container %s stays listed: %s", container_id, error)

    async def _note_volumes(self, node_id: str, volumes: Sequence[VolumeRecord]) -> None:
        """Note the volumes that only the node knew, and where the others are on it."""
        names = [volume.name for volume in volumes]
        known = {one.name: one for one in await self._catalogue.volumes.all(names)}
        for volume in volumes:
            one = known.get(volume.name)
            if one is None or one.mountpoint != volume.mountpoint:
                await self._catalogue.volumes.note(volume.model_copy(update={"node_id": node_id}))

    async def _networks_of(self, node_id: str) -> list[NetworkState]:
        states = []
        for network_id in await self._catalogue.networks.of_node(node_id):
            state = await self._catalogue.networks.state(network_id)
            if state is not None:
                states.append(state)
        return states

    async def sync(self, request: gateway.SyncRequest, speaker: str) -> gateway.SyncAnswer:
        """Take over a node's changes."""
        self._nodes.heard(speaker)
        if speaker not in await self._nodes.known():
            self._nodes.forget_cached()  # it may have joined at another gateway just now
            if speaker not in await self._nodes.known():
                return gateway.SyncAnswer(rejoin=True)
        stray = await self._learning.changed(
            speaker, request.changes, by_cache=not request.after_join
        )
        if request.volumes:
            await self._note_volumes(speaker, request.volumes)
        for name in request.removed_volumes:
            await self._catalogue.volumes.forget(name, speaker)
        if stray:
            stray = await self._catalogue.containers.not_buried(stray, time.time() - _YOUNG_S)
        return gateway.SyncAnswer(rejoin=bool(stray))

    async def list_nodes(self, request: Empty) -> gateway.NodesAnswer:
        """Return all nodes."""
        return gateway.NodesAnswer(nodes=[node.record for node in await self._nodes.all()])

    async def update_node(self, request: gateway.NodeUpdateRequest) -> Empty:
        """Change a node's labels, drain or undrain it."""
        node = await self._nodes.find(request.node)
        await self._catalogue.nodes.change(node.id, labels=request.labels, drained=request.drained)
        self._nodes.forget_cached()
        return Empty()

    async def remove_node(self, request: gateway.NodeRequest) -> Empty:
        """Forget a node that is gone for good, with all that was on it.

        If it comes back in spite of that, it joins anew, and what it has is taken in.
        """
        node = await self._nodes.find(request.node)
        if node.silent_s is None and not request.force:
            raise ConflictError(f"node {node.name} is alive: stop its agent first, or use --force")
        networks = await self._catalogue.networks.of_node(node.id)
        await self._catalogue.nodes.remove(node.id)
        await self._catalogue.networks.changed(networks)
        self._nodes.forget_cached()
        self._learning.touch(networks)
        log.info("node %s removed", node.name)
        return Empty()

    async def create_token(self, request: Empty) -> gateway.TokenAnswer:
        """Make a join token."""
        return gateway.TokenAnswer(token=await self._catalogue.nodes.new_token())
