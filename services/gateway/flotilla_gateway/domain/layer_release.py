"""Tells nodes which images exist, so that they delete the layers of those that do not."""

import asyncio
import logging

from flotilla_bus import Bus
from flotilla_bus.contracts import agent
from flotilla_bus.contracts import images as store
from flotilla_core.errors import FlotillaError
from flotilla_engine.records import NodeState
from flotilla_gateway.domain.nodes import Nodes

_log = logging.getLogger(__name__)

_TIMEOUT_S = 600  # a large layer has many files to delete


async def release_layers(bus: Bus, nodes: Nodes) -> None:
    """Let every node that can be reached delete layers that no image has any more.

    What fails is made up for after the next removal: the nodes get the whole list each time.
    """
    try:
        answer = await bus.call(store.LIST, store.ListRequest(all=True))
    except FlotillaError as error:
        _log.info("layers of removed images stay for now: %s", error)
        return
    keep = agent.KeepImages(images=[one.image for one in answer.images])
    known = await nodes.known()
    reachable = [
        node.id
        for node in known.values()
        if nodes.status(node).record.state is not NodeState.UNREACHABLE
    ]
    await asyncio.gather(*(_release(bus, node_id, keep) for node_id in reachable))


async def _release(bus: Bus, node_id: str, keep: agent.KeepImages) -> None:
    try:
        await bus.call(agent.IMAGE_RELEASE, keep, node=node_id, timeout_s=_TIMEOUT_S)
    except FlotillaError as error:
        _log.info("node %s keeps layers of removed images for now: %s", node_id, error)
