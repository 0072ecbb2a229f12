"""Calls to nodes that end when the node does, and not only at their deadline."""

import asyncio
import contextlib

from flotilla_bus import Bus
from flotilla_bus.methods import A, Method, Q
from flotilla_core.errors import DeadlineExceededError
from flotilla_gateway.domain.nodes import Nodes


class NodeCalls:
    """Calls methods of nodes; a node that goes silent or restarts ends the calls to it."""

    def __init__(self, bus: Bus, nodes: Nodes) -> None:
        self._bus = bus
        self._nodes = nodes

    async def call(
        self, method: Method[Q, A], request: Q, node_id: str, *, timeout_s: float = 60
    ) -> A:
        """Call a method of a node.

        Raises:
            FlotillaError: What the node raised.
            UnavailableError: If nobody listens there: nothing was done.
            DeadlineExceededError: If the node went away or does not answer: the outcome is
                unknown.
        """
        call = asyncio.ensure_future(
            self._bus.call(method, request, node=node_id, timeout_s=timeout_s)
        )
        lost = self._nodes.lost(node_id)
        try:
            either: set[asyncio.Future[A] | asyncio.Future[str]] = {call, lost}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
            raise DeadlineExceededError(f"node {self._nodes.name_of(node_id)}: {lost.result()}")
        finally:
            self._nodes.forget_lost(node_id, lost)
            if not call.done():
                call.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await call
