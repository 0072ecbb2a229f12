"""Which nodes there are, and which of them are heard of."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flotilla_core.errors import NotFoundError, UnavailableError
from flotilla_engine.records import NodeInfo, NodeRecord, NodeState
from flotilla_gateway.catalogue.nodes import KnownNode, Load
from flotilla_gateway.catalogue.nodes import Nodes as NodeTable

SILENT_AFTER_S = 6.0
_WRITE_EVERY_S = 5.0


@dataclass(frozen=True)
class NodeStatus:
    """A node now; `silent_s` is None while it is heard of."""

    info: NodeInfo
    drained: bool
    silent_s: float | None
    load: Load = field(default_factory=Load)

    @property
    def id(self) -> str:
        """The node's id."""
        return self.info.node.id

    @property
    def name(self) -> str:
        """The node's name."""
        return self.info.node.name

    @property
    def record(self) -> NodeRecord:
        """The node's record, with its state as it is now."""
        state = NodeState.READY
        if self.silent_s is not None:
            state = NodeState.UNREACHABLE
        elif self.drained:
            state = NodeState.DRAINED
        seen = datetime.fromtimestamp(int(time.time() - (self.silent_s or 0)), UTC)
        return self.info.node.model_copy(update={"state": state, "last_seen": seen})


class Nodes:
    """The fleet's nodes; signs of life are kept in memory and written now and then."""

    def __init__(self, table: NodeTable) -> None:
        self.table = table
        self.returned: list[Callable[[str], None]] = []  # told of a node that was silent
        self._heard: dict[str, float] = {}
        self._written: dict[str, float] = {}
        self._cache: dict[str, KnownNode] = {}
        self._lost: dict[str, set[asyncio.Future[str]]] = {}
        self._sessions: dict[str, str] = {}
        self._connections: dict[str, int] = {}
        self._started = time.monotonic()
        self._cached_at = 0.0

    async def joined(self, info: NodeInfo, session: str = "") -> None:
        """Take in a node, or its newest word on itself; a new session ends calls to the old."""
        node = await self.table.join(info)
        self._heard[node.id] = time.monotonic()
        self.forget_cached()
        if self._sessions.get(node.id, session) != session:
            self._lose(node.id, "its agent was restarted")
        self._sessions[node.id] = session

    def heard(self, node_id: str) -> bool:
        """Note a sign of life; True if it should be written, too."""
        now = time.monotonic()
        if now - self._heard.get(node_id, now) > SILENT_AFTER_S:
            for listener in self.returned:
                listener(node_id)
        self._heard[node_id] = now
        if now - self._written.get(node_id, 0.0) < _WRITE_EVERY_S:
            return False
        self._written[node_id] = now
        return True

    def has_reconnected(self, node_id: str, connections: int) -> bool:
        """Note how often a node has connected to NATS; True if that is more than was known."""
        known = self._connections.get(node_id, connections)
        self._connections[node_id] = connections
        return connections > known

    def lost(self, node_id: str) -> "asyncio.Future[str]":
        """Return what is done, with the reason, when the node restarts or goes silent."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._lost.setdefault(node_id, set()).add(lost)
        return lost

    def forget_lost(self, node_id: str, lost: "asyncio.Future[str]") -> None:
        """Give back what `lost` returned."""
        self._lost.get(node_id, set()).discard(lost)
        lost.cancel()

    async def watch(self) -> None:
        """End the calls to nodes that have gone silent, until cancelled."""
        while True:
            await asyncio.sleep(1)
            for node_id in [node_id for node_id, waiting in self._lost.items() if waiting]:
                known = self._cache.get(node_id)
                if known is not None and self.silent_s(known) is not None:
                    self._lose(node_id, "it went away")

    def _lose(self, node_id: str, reason: str) -> None:
        for lost in self._lost.pop(node_id, ()):
            if not lost.done():
                lost.set_result(reason)

    def silent_s(self, node: KnownNode) -> float | None:
        """Return for how long a node has been silent, or None if it is not."""
        now = time.monotonic()
        heard = self._heard.get(node.id)
        if heard is None:
            if now - self._started < SILENT_AFTER_S:
                return None
            return max(time.time() - node.last_seen, now - self._started)
        silent = now - heard
        return None if silent < SILENT_AFTER_S else silent

    def forget_cached(self) -> None:
        """Read nodes from the catalogue at the next use."""
        self._cached_at = 0.0

    def name_of(self, node_id: str) -> str:
        """Return a node's name, for messages; its id if it is not known."""
        known = self._cache.get(node_id)
        return known.name if known else node_id

    async def known(self) -> dict[str, KnownNode]:
        """Return the nodes by id; at most a second old where another gateway changed them."""
        if not self._cached_at or time.monotonic() - self._cached_at > 1.0:
            self._cache = {node.id: node for node in await self.table.all()}
            self._cached_at = time.monotonic()
        return self._cache

    async def silent(self) -> set[str]:
        """Return the ids of the nodes that are not heard of."""
        known = await self.known()
        return {node.id for node in known.values() if self.silent_s(node) is not None}

    async def all(self) -> list[NodeStatus]:
        """Return all nodes by name, with what their containers take."""
        known, loads = await asyncio.gather(self.known(), self.table.loads())
        return [
            replace(self.status(node), load=loads.get(node.id, Load())) for node in known.values()
        ]

    def status(self, node: KnownNode) -> NodeStatus:
        """Return how a node is now."""
        return NodeStatus(node.info, node.drained, self.silent_s(node))

    async def find(self, reference: str) -> NodeStatus:
        """Return the node of that id, name or unique id prefix. Raises: NotFoundError."""
        for node in (await self.known()).values():
            if reference in (node.id, node.name):
                return self.status(node)
        return self.status(await self.table.find(reference))

    async def get(self, node_id: str) -> NodeStatus:
        """Return the node of that id. Raises: NotFoundError."""
        node = (await self.known()).get(node_id)
        if node is None:
            raise NotFoundError(f"node {node_id} not found")
        return self.status(node)

    async def reachable(self, node_id: str) -> NodeStatus:
        """Return the node, if it is heard of.

        Raises:
            UnavailableError: If it is silent.
        """
        status = await self.get(node_id)
        if status.silent_s is not None:
            raise UnavailableError(
                f"node {status.name} is unreachable (for {status.silent_s:.0f} seconds)"
            )
        return status
