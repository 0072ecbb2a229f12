"""Tells the fleet what happens here: events in order, and each container's newest record.

Changes are kept until the gateway has answered; of several to one container only the last one
matters. What is lost with this process is made good by the inventory that a join carries.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from time import time_ns
from typing import TypeVar

from pydantic import BaseModel

from flotilla_bus import Bus
from flotilla_bus.contracts import gateway
from flotilla_bus.events import EventPublisher
from flotilla_core.errors import FlotillaError
from flotilla_engine.events import Actor, EventMessage
from flotilla_engine.records import ContainerChange, ContainerRecord, NetworkState, VolumeRecord
from flotilla_runtime_agent.containers.containers import Containers
from flotilla_runtime_agent.node import Node
from flotilla_runtime_agent.ports import Networks, Volumes

_LOG = logging.getLogger(__name__)

T = TypeVar("T", bound=BaseModel)

_BATCH = 100
_PAGE_BYTES = 1024 * 1024
_RETRY_S = 1.0
_CALL_S = 10.0
_ASK_EVERY_S = 15.0


class Reports:
    """Implements ``Outlet``: collects, and never blocks."""

    def __init__(self, publisher: EventPublisher) -> None:
        """Nothing is to be told yet."""
        self._publisher = publisher
        self._changes: dict[str, ContainerChange] = {}
        self._volumes: dict[str, VolumeRecord] = {}
        self._removed_volumes: set[str] = set()
        self._told = asyncio.Event()

    def changed(self, record: ContainerRecord) -> None:
        """Report a container."""
        self._changes[record.id] = ContainerChange(
            id=record.id, revision=record.revision, record=record
        )
        self._told.set()

    def removed(self, container_id: str, revision: int, volumes: Sequence[str] = ()) -> None:
        """Report that a container is gone, and the volumes that went with it."""
        self._removed_volumes.update(volumes)
        self._changes[container_id] = ContainerChange(id=container_id, revision=revision)
        self._told.set()

    def event(self, kind: str, action: str, subject: str, attributes: Mapping[str, str]) -> None:
        """Say an event."""
        moment = time_ns()
        message = EventMessage(
            type=kind,
            action=action,
            actor=Actor(id=subject, attributes=dict(attributes)),
            time=moment // 1_000_000_000,
            time_nano=moment,
        )
        self._publisher.publish(message)

    async def something(self) -> None:
        """Wait until there is something to report."""
        await self._told.wait()

    @property
    def removed_volumes(self) -> list[str]:
        """Volumes whose removal is still to be reported."""
        return sorted(self._removed_volumes)

    def told_removed(self, volumes: Iterable[str]) -> None:
        """Forget volumes whose removal was reported."""
        self._removed_volumes.difference_update(volumes)

    def take(self) -> dict[str, ContainerChange]:
        """Take what is to be reported, at most a batch."""
        taken = {key: self._changes[key] for key in list(self._changes)[:_BATCH]}
        for key in taken:
            del self._changes[key]
        if not self._changes:
            self._told.clear()
        return taken

    def put_back(self, changes: Mapping[str, ContainerChange]) -> None:
        """Keep what could not be reported, unless there is something newer."""
        self._changes = {**changes, **self._changes}
        if self._changes:
            self._told.set()


class Membership:
    """This node's place in the fleet: joins, reports, gives signs of life."""

    def __init__(
        self,
        bus: Bus,
        node: Node,
        containers: Containers,
        networks: Networks,
        volumes: Volumes,
        reports: Reports,
        *,
        token: str = "",
        heartbeat_s: float = 2.0,
        page_bytes: int = _PAGE_BYTES,
        joined: Callable[[], None],
    ) -> None:
        """Not joined yet; ``joined`` is called each time it has."""
        self._page_bytes = page_bytes
        self._bus = bus
        self._node = node
        self._containers = containers
        self._networks = networks
        self._volumes = volumes
        self._reports = reports
        self._token = token
        self._session = secrets.token_hex(8)
        self._heartbeat_s = heartbeat_s
        self._joined = joined
        self._must_join = asyncio.Event()
        self._must_join.set()

    async def report_forever(self) -> None:
        """Join, then report each change; join again when the gateway asks for it.

        It is asked now and then also without a change: its catalogue may be another one by now.
        """
        while True:
            try:
                if self._must_join.is_set():
                    await self._join()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_ASK_EVERY_S):
                        await self._reports.something()
                await self._report()
            except FlotillaError as error:
                _LOG.info("not reported yet: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def _join(self) -> None:
        request = gateway.JoinRequest(
            info=self._node.info(),
            revisions=self._containers.revisions(),
            token=self._token,
            session=self._session,
        )
        answer = await self._bus.call(gateway.JOIN, request, timeout_s=_CALL_S)
        for container_id in answer.stray:
            await self._remove_stray(container_id)
        await self._take_networks(answer.networks)
        for name in answer.volumes:
            try:
                await self._volumes.remove(name, force=True)
            except FlotillaError as error:
                _LOG.warning("volume %s is not removed: %s", name, error)
        self._must_join.clear()
        await self._tell_all(answer.wanted)
        self._joined()

    async def _tell_all(self, container_ids: Sequence[str]) -> None:
        """Tell what the gateway wants to know of these containers, and all volumes."""
        try:
            for changes in pages(self._containers.changes(container_ids), self._page_bytes):
                await self._sync(gateway.SyncRequest(changes=changes, after_join=True))
            for volumes in pages(await self._volumes.list(), self._page_bytes):
                await self._sync(gateway.SyncRequest(volumes=volumes, after_join=True))
        except BaseException:
            self._must_join.set()
            raise

    async def _sync(self, request: gateway.SyncRequest) -> None:
        answer = await self._bus.call(gateway.SYNC, request, timeout_s=_CALL_S)
        if answer.rejoin:
            self._must_join.set()

    async def _remove_stray(self, container_id: str) -> None:
        try:
            await self._containers.get(container_id).remove(force=True, volumes=True)
        except FlotillaError as error:
            _LOG.warning("stray container %s is not removed: %s", container_id, error)

    async def _take_networks(self, states: list[NetworkState]) -> None:
        """Take over the networks; one that cannot be had does not keep the node out."""
        wanted = {state.network.id for state in states}
        for known in await self._networks.network_states():
            if known.network.id not in wanted:
                await self._told(known, self._networks.remove_network(known.network.id))
        for state in states:
            await self._told(state, self._networks.apply(state))

    @staticmethod
    async def _told(state: NetworkState, change: Awaitable[None]) -> None:
        try:
            await change
        except (FlotillaError, OSError) as error:
            _LOG.warning("network %s is not as it should be: %s", state.network.name, error)

    async def _report(self) -> None:
        changes = self._reports.take()
        try:
            volumes = self._reports.removed_volumes
            for page in pages(list(changes.values()), self._page_bytes) or [[]]:
                await self._sync(gateway.SyncRequest(changes=page, removed_volumes=volumes))
        except BaseException:
            self._reports.put_back(changes)
            raise
        self._reports.told_removed(volumes)

    async def beat_forever(self) -> None:
        """Give signs of life."""
        identifier = self._node.info().node.id
        while True:
            running = sum(container.record.state.running for container in self._containers)
            beat = gateway.Heartbeat(
                node_id=identifier,
                connections=self._bus.connections,
                containers_running=running,
                load=os.getloadavg()[0],
            )
            try:
                await self._bus.publish(gateway.HEARTBEAT, beat)
            except FlotillaError as error:
                _LOG.debug("no sign of life: %s", error)
            await asyncio.sleep(self._heartbeat_s)


def pages(items: Sequence[T], limit_bytes: int) -> list[list[T]]:
    """Return the items in parts that a message can carry, at least one in each."""
    if len(items) == 1:
        return [list(items)]
    parts: list[list[T]] = []
    size = limit_bytes
    for item in items:
        own = len(item.model_dump_json())
        if size + own > limit_bytes or len(parts[-1]) >= _BATCH:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += own
    return parts
