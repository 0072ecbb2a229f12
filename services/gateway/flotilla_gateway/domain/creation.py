"""Making a container: what it needs, where it goes, and the order in which things are promised."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

from flotilla_bus import Bus
from flotilla_bus.contracts import agent
from flotilla_core.clock import now
from flotilla_core.errors import (
    ConflictError,
    DeadlineExceededError,
    FlotillaError,
    UnavailableError,
)
from flotilla_core.ids import new_id, short_id
from flotilla_engine import defaults, validate
from flotilla_engine.networking import EndpointSettings
from flotilla_engine.records import (
    ContainerRecord,
    EndpointRecord,
    NodeRecord,
)
from flotilla_gateway.catalogue.catalogue import Catalogue
from flotilla_gateway.catalogue.entries import NewContainer
from flotilla_gateway.domain.calls import NodeCalls
from flotilla_gateway.domain.drafts import CreateRequest, Draft, Drafts
from flotilla_gateway.domain.events import EventSink, event
from flotilla_gateway.domain.learning import Learning
from flotilla_gateway.domain.locator import Locator
from flotilla_gateway.domain.names import random_name
from flotilla_gateway.domain.networks import Networks
from flotilla_gateway.domain.nodes import Nodes
from flotilla_gateway.domain.references import References
from flotilla_gateway.placement.choose import Strategy, choose
from flotilla_gateway.placement.nodes import Candidate, Home, Neighbour, PortClaim, Wanted

_CREATE_WITHIN_S = 1800.0  # a large image's layers may have to be fetched first
_NAME_ATTEMPTS = 6
_PLACE_ATTEMPTS = 3


class Creation:
    """Makes containers."""

    def __init__(
        self,
        bus: Bus,
        calls: NodeCalls,
        catalogue: Catalogue,
        nodes: Nodes,
        locator: Locator,
        networks: Networks,
        learning: Learning,
        events: EventSink,
        *,
        strategy: Strategy = Strategy.SPREAD,
    ) -> None:
        self._calls = calls
        self._catalogue = catalogue
        self._nodes = nodes
        self._networks = networks
        self._learning = learning
        self.drafts = Drafts(bus, References(catalogue, locator), networks)
        self._events = events
        self._strategy = strategy
        self._placing = asyncio.Lock()
        self.under_way: set[str] = set()  # ids of containers that are being made

    async def create(self, request: CreateRequest) -> tuple[str, list[str]]:
        """Make a container; returns its id and warnings.

        Raises:
            FlotillaError: In dockerd's words, if it cannot be.
        """
        if request.name:
            request.name = validate.check_name(request.name)
        warnings = validate.check_create(
            request.config, request.host_config, request.networking, request.version
        )
        draft = await self.drafts.draft(request)
        draft.warnings = warnings
        answer = await self._place(draft)
        return draft.id, [*draft.warnings, *answer.warnings]

    async def _place(self, draft: Draft) -> agent.RecordAnswer:
        passed_over: set[str] = set()
        for attempt in range(_PLACE_ATTEMPTS):
            async with self._placing:  # each choice sees the reservations before it
                node = choose(
                    draft.wanted, await self._candidates(draft.wanted, passed_over), self._strategy
                )
                await self._check_on(draft, node)
                await self._reserve(draft, node)
            try:
                if not await self._bind_volumes(draft, node):
                    await self._catalogue.containers.discard(draft.id)
                    draft.id = new_id()
                    continue
                return await self._make(draft, node)
            except UnavailableError:
                await self._catalogue.containers.discard(draft.id)
                if attempt == _PLACE_ATTEMPTS - 1:
                    raise
                passed_over.add(node.id)
                draft.id = new_id()
            except BaseException:
                await self._catalogue.containers.discard(draft.id)
                raise
        raise ConflictError("the container's volumes moved while it was made; try again")

    async def _check_on(self, draft: Draft, node: NodeRecord) -> None:
        info = (await self._nodes.get(node.id)).info
        draft.warnings += [
            warning
            for warning in validate.check_on_node(draft.host_config, info)
            if warning not in draft.warnings
        ]
        defaults.fill_in_on_node(draft.host_config, info)

    async def _candidates(self, wanted: Wanted, passed_over: Collection[str]) -> list[Candidate]:
        claims = []
        if wanted.ports:
            claims = await self._catalogue.nodes.port_claims([port.port for port in wanted.ports])
        neighbours = await self._neighbours() if wanted.wishes.affinities else {}
        candidates = []
        for status in await self._nodes.all():
            here = [claim for claim in claims if claim[0] == status.id]
            candidates.append(
                Candidate(
                    node=status.record,
                    drained=status.drained,
                    silent_s=0.0 if status.id in passed_over else status.silent_s,
                    containers=status.load.containers,
                    nano_cpus=status.load.nano_cpus,
                    memory_bytes=status.load.memory_bytes,
                    claimed=[PortClaim(*claim[1:4]) for claim in here],
                    bound=[PortClaim(*claim[1:4]) for claim in here if claim[4]],
                    neighbours=neighbours.get(status.id, ()),
                )
            )
        return candidates

    async def _neighbours(self) -> dict[str, list[Neighbour]]:
        neighbours: dict[str, list[Neighbour]] = {}
        for entry in await self._catalogue.containers.all():
            if entry.record is not None:
                neighbours.setdefault(entry.node_id, []).append(
                    Neighbour(
                        id=entry.id,
                        name=entry.name,
                        image=entry.record.image,
                        image_id=entry.record.image_id,
                        labels=entry.record.config.labels,
                    )
                )
        return neighbours

    async def _reserve(self, draft: Draft, node: NodeRecord) -> None:
        new = NewContainer(
            id=draft.id,
            name=draft.name,
            node_id=node.id,
            created_at=now().timestamp(),
            image_id=draft.image.id,
            image=draft.config.image,
            labels=draft.config.labels,
            memory_bytes=draft.host_config.memory_reservation or draft.host_config.memory,
            nano_cpus=draft.host_config.nano_cpus,
            ports=draft.wanted.ports,
            volumes={volume.name for volume in draft.volumes},
            networks={
                network.id: settings
                for network, settings in draft.networks.values()
                if network is not None and network.name not in self._networks.defaults
            },
        )
        if draft.name:
            await self._catalogue.containers.reserve(new)
            return
        for attempt in range(_NAME_ATTEMPTS):
            draft.name = random_name(attempt) if attempt < _NAME_ATTEMPTS - 1 else draft.id[:12]
            try:
                await self._catalogue.containers.reserve(replace(new, name=draft.name))
            except ConflictError:
                continue
            return
        raise ConflictError("no free container name found")

    async def _bind_volumes(self, draft: Draft, node: NodeRecord) -> bool:
        """Bind unbound volumes to the node; False if one has another home by now."""
        for index, volume in enumerate(draft.volumes):
            if volume.node_id:
                continue
            if not await self._catalogue.volumes.all([volume.name]):
                await self._catalogue.volumes.create(volume)
                await self._events.publish(
                    event("volume", "create", volume.name, {"driver": volume.driver})
                )
            home = await self._catalogue.volumes.bind(volume.name, node.id)
            draft.volumes[index] = volume.model_copy(update={"node_id": home})
            if home != node.id:
                place = Home(home, f"volume {volume.name} is on another node")
                draft.wanted = replace(draft.wanted, homes=[*draft.wanted.homes, place])
                return False
        return True

    async def _make(self, draft: Draft, node: NodeRecord) -> agent.RecordAnswer:
        config = draft.config
        mode = draft.host_config.network_mode
        if not config.hostname and not mode.startswith("container:"):
            hostname = node.name if mode == "host" else short_id(draft.id)
            config = config.model_copy(update={"hostname": hostname})
        request = agent.CreateRequest(
            id=draft.id,
            name=draft.name,
            image=draft.image,
            image_reference=draft.config.image,
            config=config,
            host_config=draft.host_config,
            endpoints=self._endpoints(draft, node),
            volumes=draft.volumes,
            volumes_from=draft.volumes_from,
            image_mounts=draft.image_mounts,
        )
        self.under_way.add(draft.id)
        try:
            answer = await self._calls.call(
                agent.CREATE, request, node.id, timeout_s=_CREATE_WITHIN_S
            )
        except DeadlineExceededError:
            record = await self._made_after_all(draft.id)
            if record is None:
                raise
            return agent.RecordAnswer(record=record)
        finally:
            self.under_way.discard(draft.id)
        await self._learning.learned(node.id, answer.record)
        return answer

    async def _made_after_all(self, container_id: str) -> ContainerRecord | None:
        try:
            return (await self._catalogue.containers.find(container_id)).record
        except FlotillaError:
            return None

    def _endpoints(self, draft: Draft, node: NodeRecord) -> list[EndpointRecord]:
        """Return a place in each network; addresses come with the start."""
        return [
            EndpointRecord(
                id=new_id(),
                network_id=network.id if network else "",
                network_name=name,
                container_id=draft.id,
                container_name=draft.name,
                node_id=node.id,
                names=_names(draft, settings),
                settings=settings,
            )
            for name, (network, settings) in draft.networks.items()
        ]


def _names(draft: Draft, settings: EndpointSettings) -> list[str]:
    """Return what DNS answers to, in dockerd's order."""
    names = [draft.name, *settings.aliases, short_id(draft.id), *settings.dns_names]
    return list(dict.fromkeys(names))
