"""Telling nodes of their networks: newest state first, each node at its own pace, until known."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence

from flotilla_bus.contracts import agent
from flotilla_core.errors import FlotillaError
from flotilla_engine.records import NetworkState
from flotilla_gateway.catalogue.networks import Networks
from flotilla_gateway.domain.calls import NodeCalls
from flotilla_gateway.domain.nodes import Nodes

log = logging.getLogger(__name__)

_SWEEP_EVERY_S = 2.0
_APPLY_WITHIN_S = 10.0


class NetworkPusher:
    """Pushes network states; a node that is busy gets the newest state when it is done.

    States carry a revision and nodes keep the newest, so that several gateways may push at once.
    """

    def __init__(self, calls: NodeCalls, networks: Networks, nodes: Nodes) -> None:
        self._calls = calls
        self._networks = networks
        self._nodes = nodes
        self._waiting: dict[tuple[str, str], NetworkState | None] = {}
        self._busy: set[tuple[str, str]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Push until cancelled; now and then look for nodes that are behind."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                while True:
                    self._due.clear()
                    await self._sweep()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_SWEEP_EVERY_S):
                            await self._due.wait()
            finally:
                self._tasks = None

    def look(self) -> None:
        """Look for nodes that are behind, now."""
        self._due.set()

    def touch(self, network_ids: Iterable[str]) -> None:
        """Tell the nodes of these networks, soon."""
        if self._tasks is not None:
            for network_id in set(network_ids):
                self._tasks.create_task(self._push(network_id))

    async def tell(self, states: Sequence[NetworkState], *, but: str, within_s: float) -> None:
        """Tell the other nodes of these networks, and return when they know, or after a while.

        Args:
            states: What to tell.
            but: The node that is told otherwise.
            within_s: How long to wait; what is not told by then comes with the next look.
        """
        silent = await self._nodes.silent()
        calls = [
            self._apply(state.network.id, node.id, state)
            for state in states
            for node in state.nodes
            if node.id != but and node.id not in silent
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*calls, return_exceptions=True)

    async def _sweep(self) -> None:
        try:
            behind = await self._networks.behind()
            silent = await self._nodes.silent()
        except FlotillaError as error:
            log.warning("nodes with old networks are not looked for: %s", error)
            return
        except Exception:
            log.exception("looking for nodes with old networks failed")
            return
        self.touch({network for network, node in behind if node not in silent})

    async def _push(self, network_id: str) -> None:
        try:
            state = await self._networks.state(network_id)
            participants = await self._networks.participants(network_id)
            silent = await self._nodes.silent()
        except Exception:
            log.exception("reading network %s failed", network_id)
            return
        for node_id, revision in participants.items():
            if node_id not in silent and (state is None or revision < state.revision):
                self._send(network_id, node_id, state)

    def _send(self, network_id: str, node_id: str, state: NetworkState | None) -> None:
        key = network_id, node_id
        self._waiting[key] = state
        if key not in self._busy and self._tasks is not None:
            self._busy.add(key)
            self._tasks.create_task(self._work(key))

    async def _work(self, key: tuple[str, str]) -> None:
        network_id, node_id = key
        try:
            while key in self._waiting:
                await self._apply(network_id, node_id, self._waiting.pop(key))
        except FlotillaError as error:
            log.info(
                "node %s does not take network %s: %s",
                self._nodes.name_of(node_id),
                network_id,
                error.message,
            )
        except Exception:
            log.exception("telling node %s of network %s failed", node_id, network_id)
        finally:
            self._waiting.pop(key, None)
            self._busy.discard(key)

    async def _apply(self, network_id: str, node_id: str, state: NetworkState | None) -> None:
        if state is None:
            await self._calls.call(
                agent.NETWORK_REMOVE,
                agent.NetworkRequest(network_id=network_id),
                node_id,
                timeout_s=_APPLY_WITHIN_S,
            )
            await self._networks.applied(network_id, node_id, 0, takes_part=False)
            return
        await self._calls.call(agent.NETWORK_APPLY, state, node_id, timeout_s=_APPLY_WITHIN_S)
        takes_part = any(node.id == node_id for node in state.nodes)
        await self._networks.applied(network_id, node_id, state.revision, takes_part=takes_part)
