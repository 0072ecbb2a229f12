"""Taking over what nodes say of their containers, and telling who needs to know."""

from collections.abc import Callable, Mapping, Sequence

from flotilla_engine.records import ContainerChange, ContainerRecord
from flotilla_gateway.catalogue.catalogue import Catalogue
from flotilla_gateway.domain.pusher import NetworkPusher


class Learning:
    """Updates the catalogue by revision: an older word never overwrites a newer one."""

    def __init__(self, catalogue: Catalogue, pusher: NetworkPusher) -> None:
        self._catalogue = catalogue
        self._pusher = pusher
        # Told of all changes; with True of those that may publish ports.
        self.listeners: list[Callable[[bool], None]] = []

    async def learned(self, node_id: str, record: ContainerRecord) -> None:
        """Take over a record that came with an answer."""
        change = ContainerChange(id=record.id, revision=record.revision, record=record)
        await self.changed(node_id, [change])

    async def removed(self, node_id: str, container_id: str) -> None:
        """Forget a container that its node has removed."""
        self._told(await self._catalogue.containers.remove(container_id))

    async def compared(
        self, node_id: str, revisions: Mapping[str, int]
    ) -> tuple[list[str], list[str]]:
        """Return which of a node's containers must go from it, and which are to be told of."""
        known = await self._catalogue.containers.revisions(node_id)
        news = [one for one, revision in revisions.items() if known.get(one) != revision]
        stray = await self._catalogue.containers.strays(node_id, news)
        return sorted(stray), [one for one in news if one not in stray]

    async def changed(
        self, node_id: str, changes: Sequence[ContainerChange], *, by_cache: bool = True
    ) -> list[str]:
        """Take over changes, oldest first; returns the ids of those that must go from the node."""
        stray: list[str] = []
        networks: set[str] = set()
        publishes = any(change.record and change.record.ports for change in changes)
        for change in {change.id: change for change in changes}.values():  # the newest of each
            outcome = await self._catalogue.containers.apply(node_id, change, by_cache=by_cache)
            if outcome.unknown and change.record is not None:
                if not await self._catalogue.containers.adopt(node_id, change):
                    stray.append(change.id)
                continue
            if outcome.running_changed or outcome.removed:
                networks.update(outcome.networks)
        self._told(networks, publishes=publishes)
        return stray

    def touch(self, networks: Sequence[str]) -> None:
        """Tell the nodes of these networks that something has changed."""
        self._told(networks)

    def _told(self, networks: Sequence[str] | set[str], *, publishes: bool = False) -> None:
        if networks:
            self._pusher.touch(networks)
        for listener in self.listeners:
            listener(publishes)
