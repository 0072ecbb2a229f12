"""Where things are: containers and execs by what users call them."""

from dataclasses import dataclass

from flotilla_core.errors import NotFoundError
from flotilla_core.ids import exec_owner
from flotilla_engine.records import ContainerRecord
from flotilla_gateway.catalogue.containers import Containers
from flotilla_gateway.catalogue.entries import Entry
from flotilla_gateway.domain.nodes import Nodes
from flotilla_gateway.domain.views import FLEET, View


@dataclass(frozen=True)
class Located:
    """A container, and the node it is on; the record may be older than the node's own."""

    id: str
    name: str
    node_id: str
    node_name: str
    record: ContainerRecord


class Locator:
    """Finds containers and execs in the catalogue."""

    def __init__(self, containers: Containers, nodes: Nodes) -> None:
        self._containers = containers
        self._nodes = nodes

    async def container(
        self, reference: str, view: View = FLEET, *, reachable: bool = True
    ) -> Located:
        """Return the container of that id, name or unique id prefix.

        Raises:
            NotFoundError: If there is none, or it is still being made.
            InvalidArgumentError: If the prefix fits several.
            UnavailableError: If its node is silent, unless `reachable` is false.
        """
        entry = await self._containers.find(reference)
        if not view.shows(entry.node_id):
            raise NotFoundError(f"No such container: {reference}")
        return await self._located(entry, reference, reachable=reachable)

    async def exec(self, exec_id: str, view: View = FLEET) -> Located:
        """Return the container that an exec belongs to.

        Raises:
            NotFoundError: If there is no such exec.
            UnavailableError: If its node is silent.
        """
        entry = await self._containers.beginning_with(exec_owner(exec_id))
        if entry is None or not view.shows(entry.node_id):
            raise NotFoundError(f"No such exec instance: {exec_id}")
        return await self._located(entry, entry.id, reachable=True)

    async def _located(self, entry: Entry, reference: str, *, reachable: bool) -> Located:
        if entry.record is None:
            raise NotFoundError(f"No such container: {reference}")
        if reachable:
            node = await self._nodes.reachable(entry.node_id)
        else:
            node = await self._nodes.get(entry.node_id)
        return Located(entry.id, entry.name, entry.node_id, node.name, entry.record)
