"""The verbs of containers: find the node, ask it, and take its answer into the catalogue."""

from collections.abc import Sequence
from typing import TypeVar

from flotilla_bus.contracts import agent
from flotilla_bus.methods import Method
from flotilla_core.errors import (
    ConflictError,
    FlotillaError,
    InvalidArgumentError,
    NotFoundError,
)
from flotilla_engine import validate
from flotilla_engine.records import (
    ContainerRecord,
    ContainerSize,
    EndpointRecord,
    NetworkState,
    NodeRecord,
)
from flotilla_engine.updates import UpdateConfig
from flotilla_engine.validate.updates import check_update_of
from flotilla_gateway.catalogue.catalogue import Catalogue
from flotilla_gateway.domain.calls import NodeCalls
from flotilla_gateway.domain.default_networks import default_endpoint
from flotilla_gateway.domain.learning import Learning
from flotilla_gateway.domain.locator import Located, Locator
from flotilla_gateway.domain.networks import Networks
from flotilla_gateway.domain.nodes import Nodes
from flotilla_gateway.domain.views import FLEET, View

R = TypeVar("R", bound=agent.ContainerRequest)

_STOP_MARGIN_S = 60.0
_DEFAULT_STOP_S = 10
_FOR_EVER_S = 30 * 24 * 3600.0
_START_WITHIN_S = 300.0


class Containers:
    """What the gateway does with containers that exist."""

    def __init__(
        self,
        calls: NodeCalls,
        catalogue: Catalogue,
        nodes: Nodes,
        locator: Locator,
        networks: Networks,
        learning: Learning,
    ) -> None:
        self._calls = calls
        self._catalogue = catalogue
        self._nodes = nodes
        self._locator = locator
        self._networks = networks
        self._learning = learning

    async def learned(self, node_id: str, record: ContainerRecord) -> None:
        """Take over a record that came with a node's answer."""
        await self._learning.learned(node_id, record)

    async def caught_up(self, located: Located, *, removed: bool) -> None:
        """Know at once what a wait has told the client: that a container ended, or is gone."""
        if removed:
            await self._learning.removed(located.node_id, located.id)
            return
        request = agent.ContainerRequest(container=located.id)
        answer = await self._calls.call(agent.INSPECT, request, located.node_id, timeout_s=5)
        await self._learning.learned(located.node_id, answer.record)

    async def all(self, view: View = FLEET) -> list[tuple[ContainerRecord, NodeRecord]]:
        """Return all containers with their nodes, newest first."""
        entries = await self._catalogue.containers.all(view.node_id)
        known = await self._nodes.known()
        nodes = {node.id: self._nodes.status(node).record for node in known.values()}
        return [
            (
                entry.record
                if entry.record.name == entry.name
                else entry.record.model_copy(update={"name": entry.name}),
                nodes.get(entry.node_id) or NodeRecord(id=entry.node_id, name="", address=""),
            )
            for entry in entries
            if entry.record is not None
        ]

    async def inspect(
        self, reference: str, view: View = FLEET
    ) -> tuple[ContainerRecord, NodeRecord]:
        """Return a container as its node knows it now; as last known if the node is silent."""
        located = await self._locator.container(reference, view, reachable=False)
        node = await self._nodes.get(located.node_id)
        if node.silent_s is not None:
            return located.record, node.record
        answer = await self._calls.call(
            agent.INSPECT, agent.ContainerRequest(container=located.id), located.node_id
        )
        return answer.record, node.record

    async def sizes(self, records: Sequence[ContainerRecord]) -> dict[str, ContainerSize]:
        """Return the sizes of containers; those of silent nodes are left out."""
        by_node: dict[str, list[str]] = {}
        for record in records:
            by_node.setdefault(record.node_id, []).append(record.id)
        sizes: dict[str, ContainerSize] = {}
        for node_id, containers in by_node.items():
            try:
                await self._nodes.reachable(node_id)
                answer = await self._calls.call(
                    agent.SIZES, agent.SizesRequest(containers=containers), node_id, timeout_s=300
                )
            except FlotillaError:
                continue
            sizes |= answer.sizes
        return sizes

    async def start(self, reference: str, view: View = FLEET, *, detach_keys: str = "") -> None:
        """Start a container; addresses in user networks are leased now."""
        located = await self._locator.container(reference, view)
        request = agent.StartRequest(container=located.id, detach_keys=detach_keys)
        if not located.record.state.running and self._is_in_user_networks(located):
            try:
                request.endpoints, request.networks = await self._leased(located)
            except FlotillaError:
                if located.record.host_config.auto_remove:  # as after any other failed start
                    await self.remove(located.id, view, volumes=True)
                raise
            await self._networks.tell_others(request.networks, located.node_id)
        try:
            await self._change(agent.START, request, located, timeout_s=_START_WITHIN_S)
        except FlotillaError:
            await self._networks.tell_again(request.networks)
            raise
        for state in request.networks:
            await self._catalogue.networks.applied(
                state.network.id, located.node_id, state.revision, takes_part=True
            )

    def _is_in_user_networks(self, located: Located) -> bool:
        return any(name not in self._networks.defaults for name in located.record.networks)

    async def _leased(self, located: Located) -> tuple[list[EndpointRecord], list[NetworkState]]:
        """Lease what the container lacks; returns its endpoints and the networks they are in."""
        table = self._catalogue.networks
        known = {one.network_name: one for one in await table.of_container(located.id)}
        for name, settings in located.record.networks.items():
            if name not in self._networks.defaults and name not in known:
                network = await self._networks.find(name)
                await table.connect(network.id, located.id, settings)
        await table.lease(located.id)
        endpoints = await table.of_container(located.id)
        states = []
        for network_id in [endpoint.network_id for endpoint in endpoints]:
            state = await self._networks.state(network_id)
            for endpoint in state.endpoints:
                endpoint.running = endpoint.running or endpoint.container_id == located.id
            states.append(state)
        endpoints += [
            default_endpoint(self._networks.defaults[name], located, settings)
            for name, settings in located.record.networks.items()
            if name in self._networks.defaults
        ]
        return endpoints, states

    async def stop(
        self, reference: str, view: View = FLEET, *, signal: str | None, timeout_s: int | None
    ) -> None:
        """Stop a container."""
        await self._stop(agent.STOP, reference, view, signal, timeout_s)

    async def restart(
        self, reference: str, view: View = FLEET, *, signal: str | None, timeout_s: int | None
    ) -> None:
        """Stop a container if it runs, and start it."""
        located = await self._locator.container(reference, view)
        if not located.record.state.running and self._is_in_user_networks(located):
            await self.start(reference, view)
            return
        await self._stop(agent.RESTART, reference, view, signal, timeout_s)

    async def _stop(
        self,
        method: Method[agent.StopRequest, agent.RecordAnswer],
        reference: str,
        view: View,
        signal: str | None,
        timeout_s: int | None,
    ) -> None:
        located = await self._locator.container(reference, view)
        request = agent.StopRequest(container=located.id, signal=signal, timeout_s=timeout_s)
        patience = timeout_s
        if patience is None:
            patience = located.record.config.stop_timeout
        if patience is None:
            patience = _DEFAULT_STOP_S
        within = _FOR_EVER_S if patience < 0 else patience + _STOP_MARGIN_S
        try:
            await self._change(method, request, located, timeout_s=within)
        except InvalidArgumentError as error:
            is_stop = method is agent.STOP
            failed = "cannot stop container:" if is_stop else "Cannot restart container"
            raise InvalidArgumentError(f"{failed} {reference}: {error.message}") from error

    async def kill(self, reference: str, view: View = FLEET, *, signal: str) -> None:
        """Send a signal."""
        try:
            located = await self._locator.container(reference, view)
        except NotFoundError as error:
            raise NotFoundError(f"cannot kill container: {reference}: {error.message}") from error
        request = agent.KillRequest(
            container=located.id, signal=signal or "KILL", reference=reference
        )
        await self._change(agent.KILL, request, located)

    async def pause(self, reference: str, view: View = FLEET) -> None:
        """Freeze a container."""
        located = await self._locator.container(reference, view)
        await self._change(agent.PAUSE, agent.ContainerRequest(container=located.id), located)

    async def unpause(self, reference: str, view: View = FLEET) -> None:
        """Thaw a container."""
        located = await self._locator.container(reference, view)
        await self._change(agent.UNPAUSE, agent.ContainerRequest(container=located.id), located)

    async def _change(
        self,
        method: Method[R, agent.RecordAnswer],
        request: R,
        located: Located,
        *,
        timeout_s: float = 60,
    ) -> agent.RecordAnswer:
        answer = await self._calls.call(method, request, located.node_id, timeout_s=timeout_s)
        await self._learning.learned(located.node_id, answer.record)
        return answer

    async def rename(self, reference: str, new: str, view: View = FLEET) -> None:
        """Give a container another name."""
        if not new:
            validate.check_rename("", new)
        located = await self._locator.container(reference, view)
        try:
            name = validate.check_rename(located.name, new)
        except FlotillaError as error:
            if error.message.startswith("Invalid container name"):
                slashed = error.message.replace(f"({new})", f"(/{new.removeprefix('/')})")
                raise type(error)(
                    f"Error when allocating new name: {slashed}"  # type: ignore[call-arg, arg-type]
                ) from error
            raise
        try:
            await self._catalogue.containers.rename(located.id, name)
        except ConflictError as error:
            raise ConflictError(f"Error when allocating new name: {error.message}") from error
        try:
            answer = await self._calls.call(
                agent.RENAME, agent.RenameRequest(container=located.id, name=name), located.node_id
            )
        except FlotillaError:
            await self._catalogue.containers.rename(located.id, located.name)
            raise
        await self._learning.learned(located.node_id, answer.record)
        self._learning.touch([one.network_id for one in await self._endpoints(located.id)])

    async def _endpoints(self, container_id: str) -> list[EndpointRecord]:
        return await self._catalogue.networks.of_container(container_id)

    async def update(self, reference: str, update: UpdateConfig, view: View = FLEET) -> list[str]:
        """Change limits and the restart policy; returns warnings."""
        warnings = validate.check_update(update)
        located = await self._locator.container(reference, view)
        try:
            check_update_of(located.record.host_config, update)
        except FlotillaError as error:
            wrong = f"Cannot update container {located.id}: {error.message}"
            raise FlotillaError(error.kind, wrong) from error
        info = (await self._nodes.get(located.node_id)).info
        warnings += validate.check_on_node(update, info)
        request = agent.UpdateRequest(container=located.id, update=update)
        answer = await self._change(agent.UPDATE, request, located)
        return [*warnings, *answer.warnings]

    async def remove(
        self,
        reference: str,
        view: View = FLEET,
        *,
        force: bool = False,
        volumes: bool = False,
        link: bool = False,
    ) -> None:
        """Remove a container."""
        if link and "/" not in reference.removeprefix("/"):
            await self._locator.container(reference, view, reachable=False)
            raise ConflictError("Conflict, cannot remove the default link name of the container")
        located = await self._locator.container(reference, view)
        request = agent.RemoveRequest(
            container=located.id, force=force, volumes=volumes, link=link, reference=reference
        )
        try:
            answer = await self._calls.call(agent.REMOVE, request, located.node_id)
        except NotFoundError:  # the node is the truth
            await self._learning.removed(located.node_id, located.id)
            return
        if link:
            return
        await self._learning.removed(located.node_id, located.id)
        for name in answer.volumes:
            await self._catalogue.volumes.forget(name, located.node_id)

    async def prune(self, wanted: Sequence[ContainerRecord]) -> tuple[list[str], int]:
        """Remove those of these containers that do not run; returns ids and bytes."""
        idle = [record for record in wanted if record.state.status in _REMOVABLE]
        sizes = await self.sizes(idle)
        removed = []
        for record in idle:
            try:
                await self.remove(record.id)
            except FlotillaError:
                continue
            removed.append(record.id)
        return removed, sum(sizes[one].rw_bytes for one in removed if one in sizes)


_REMOVABLE = frozenset({"created", "exited", "dead"})
