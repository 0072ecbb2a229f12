"""Volumes of the fleet: names in the catalogue, data on one home node, bound at first use."""

from collections.abc import Iterable, Sequence

from flotilla_bus.contracts import agent
from flotilla_core.clock import now
from flotilla_core.errors import (
    ConflictError,
    FlotillaError,
    NotFoundError,
    UnavailableError,
)
from flotilla_core.ids import new_id
from flotilla_engine.records import VolumeRecord, VolumeUsage
from flotilla_engine.validate import check_driver, check_volume
from flotilla_gateway.catalogue.catalogue import Catalogue
from flotilla_gateway.catalogue.container_rows import ANONYMOUS_LABEL
from flotilla_gateway.domain.calls import NodeCalls
from flotilla_gateway.domain.events import EventSink, event
from flotilla_gateway.domain.nodes import Nodes
from flotilla_gateway.domain.views import FLEET, View
from flotilla_gateway.placement.expressions import NODE_LABEL


class Volumes:
    """What the gateway does with volumes."""

    def __init__(
        self, calls: NodeCalls, catalogue: Catalogue, nodes: Nodes, events: EventSink
    ) -> None:
        self._calls = calls
        self._table = catalogue.volumes
        self._nodes = nodes
        self._events = events

    async def create(
        self,
        name: str,
        driver: str,
        options: dict[str, str],
        labels: dict[str, str],
        view: View = FLEET,
    ) -> VolumeRecord:
        """Make a volume, or return the one of that name.

        Its home is the first node that uses it, unless it is made at a node's view, with the
        label ``flotilla.node``, or there is one node only.
        """
        anonymous = not name
        if anonymous:
            name, labels = new_id(), labels | {ANONYMOUS_LABEL: ""}
        check_driver(name, driver)
        known = await self._table.all([name])
        if known:
            await self.publish("create", known[0])
            return known[0]
        check_volume(name, driver, options)
        volume = VolumeRecord(
            name=name,
            driver=driver or "local",
            created=now().replace(microsecond=0),
            labels=labels,
            options=options,
            anonymous=anonymous,
            node_id=await self._home(labels, view),
        )
        volume = await self._table.create(volume)
        if volume.node_id:
            volume = await self._make(volume)
        await self.publish("create", volume)
        return volume

    async def publish(self, action: str, volume: VolumeRecord) -> None:
        """Tell that a volume was made or removed."""
        where = {"node.id": volume.node_id} if volume.node_id else {}
        await self._events.publish(
            event("volume", action, volume.name, {"driver": volume.driver, **where})
        )

    async def _home(self, labels: dict[str, str], view: View) -> str:
        if view.node_id is not None:
            return view.node_id
        if wanted := labels.get(NODE_LABEL):
            return (await self._nodes.find(wanted)).id
        known = await self._nodes.known()
        return next(iter(known)) if len(known) == 1 else ""

    async def _make(self, volume: VolumeRecord) -> VolumeRecord:
        try:
            answer = await self._calls.call(
                agent.VOLUME_CREATE, agent.VolumeAnswer(volume=volume), volume.node_id
            )
        except FlotillaError:
            await self._table.forget(volume.name, volume.node_id)
            raise
        await self._table.move(volume.name, volume.node_id, answer.volume.mountpoint)
        return volume.model_copy(update={"mountpoint": answer.volume.mountpoint})

    async def get(self, name: str, view: View = FLEET) -> VolumeRecord:
        """Return a volume. Raises: NotFoundError."""
        volume = await self._table.get(name)
        if not _shown(volume, view):
            raise NotFoundError(f"get {name}: no such volume")
        return volume

    async def all(self, view: View = FLEET) -> list[VolumeRecord]:
        """Return all volumes, by name."""
        return [volume for volume in await self._table.all() if _shown(volume, view)]

    async def users(self) -> dict[str, list[str]]:
        """Return the ids of the containers that use each volume."""
        return await self._table.users()

    async def remove(self, name: str, *, force: bool, view: View = FLEET) -> None:
        """Remove a volume with its data.

        Raises:
            NotFoundError: If there is none, unless forced.
            ConflictError: If containers use it.
            UnavailableError: If its home does not answer.
        """
        try:
            volume = await self.get(name, view)
        except NotFoundError:
            if force:
                return
            raise
        if volume.node_id:
            await self._nodes.reachable(volume.node_id)
        await self._table.remove(name)
        if volume.node_id:
            await self._remove_data(volume, force=force)
        await self.publish("destroy", volume)

    async def _remove_data(self, volume: VolumeRecord, *, force: bool) -> None:
        try:
            await self._calls.call(
                agent.VOLUME_REMOVE,
                agent.VolumeRequest(name=volume.name, force=force),
                volume.node_id,
            )
        except NotFoundError:
            return
        except FlotillaError:
            await self._table.create(volume)
            raise

    async def prune(self, wanted: Sequence[VolumeRecord]) -> tuple[list[str], int]:
        """Remove those of these volumes that nobody uses; returns names and bytes.

        Volumes with options stay: what they mount may be anything.
        """
        users = await self.users()
        unused = [one for one in wanted if one.name not in users and not one.options]
        sizes = {one.name: one.size_bytes for one in await self.usage(unused)}
        removed = []
        for volume in unused:
            try:
                await self.remove(volume.name, force=True)
            except (ConflictError, NotFoundError, UnavailableError):
                continue
            removed.append(volume.name)
        return removed, sum(max(sizes.get(name, 0), 0) for name in removed)

    async def usage(self, volumes: Iterable[VolumeRecord]) -> list[VolumeUsage]:
        """Return sizes and numbers of users; -1 where a home does not answer."""
        users = await self.users()
        by_node: dict[str, list[str]] = {}
        sizes: dict[str, int] = {}
        for volume in volumes:
            sizes[volume.name] = -1 if volume.node_id else 0
            if volume.node_id:
                by_node.setdefault(volume.node_id, []).append(volume.name)
        for node_id, names in by_node.items():
            try:
                await self._nodes.reachable(node_id)
                answer = await self._calls.call(
                    agent.VOLUME_USAGE, agent.NamesRequest(names=names), node_id
                )
            except FlotillaError:
                continue
            sizes |= {one.name: one.size_bytes for one in answer.usage}
        return [
            VolumeUsage(name=name, size_bytes=size, ref_count=len(users.get(name, [])))
            for name, size in sizes.items()
        ]


def _shown(volume: VolumeRecord, view: View) -> bool:
    return not volume.node_id or view.shows(volume.node_id)
