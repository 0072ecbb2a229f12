"""Asks the gateway over the bus, as the bus's user `cli`: nodes, drain, volumes."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from flotilla_bus import Bus, Credentials, connected
from flotilla_bus.contracts import gateway as contract
from flotilla_bus.methods import Empty
from flotilla_cli.failure import CommandError
from flotilla_cli.stack import Stack
from flotilla_core.errors import FlotillaError
from flotilla_engine.records import NodeRecord, NodeState

T = TypeVar("T")
_CALL_TIMEOUT_S = 10.0
_MOVE_TIMEOUT_S = 60.0


def _asked(stack: Stack, ask: Callable[[Bus], Awaitable[T]]) -> T:
    async def asking() -> T:
        credentials = Credentials(user="cli", password=stack.passwords["cli"])
        async with connected(stack.nats_url, name="cli", credentials=credentials) as bus:
            return await ask(bus)

    try:
        return asyncio.run(asking())
    except FlotillaError as error:
        raise CommandError(error.message) from error


def nodes(stack: Stack) -> list[NodeRecord]:
    """Return all nodes of the fleet."""

    async def ask(bus: Bus) -> list[NodeRecord]:
        return (await bus.call(contract.NODES, Empty(), timeout_s=_CALL_TIMEOUT_S)).nodes

    return _asked(stack, ask)


def await_nodes(stack: Stack, names: set[str], timeout_s: float) -> None:
    """Wait until all these nodes are ready.

    Raises:
        CommandError: If one is not in time.
    """

    async def ask(bus: Bus) -> set[str]:
        missing = names
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while missing and loop.time() < deadline:
            answer = await bus.call(contract.NODES, Empty(), timeout_s=_CALL_TIMEOUT_S)
            ready = {node.name for node in answer.nodes if node.state is NodeState.READY}
            missing = names - ready
            if missing:
                await asyncio.sleep(0.1)
        return missing

    missing = _asked(stack, ask)
    if missing:
        listed = " ".join(sorted(missing))
        raise CommandError(f"not in the fleet after {timeout_s:g} s: {listed}")


def remove_node(stack: Stack, node: str, force: bool) -> None:
    """Take a node out of the fleet."""
    request = contract.NodeRequest(node=node, force=force)
    _asked(stack, lambda bus: bus.call(contract.NODE_REMOVE, request, timeout_s=_CALL_TIMEOUT_S))


def update_node(
    stack: Stack, node: str, labels: dict[str, str] | None = None, drained: bool | None = None
) -> None:
    """Change a node's labels, or stop (or resume) placing containers on it."""
    request = contract.NodeUpdateRequest(node=node, labels=labels, drained=drained)
    _asked(stack, lambda bus: bus.call(contract.NODE_UPDATE, request, timeout_s=_CALL_TIMEOUT_S))


def move_volume(stack: Stack, name: str, node: str) -> None:
    """Move a volume that no container uses to another node, printing what the gateway says."""
    request = contract.VolumeMoveRequest(name=name, node=node)

    async def ask(bus: Bus) -> None:
        _, stream = await bus.open(contract.VOLUME_MOVE, request, timeout_s=_MOVE_TIMEOUT_S)
        async with stream:
            while said := await stream.read():
                sys.stdout.write(said.decode(errors="replace"))
                sys.stdout.flush()

    _asked(stack, ask)
