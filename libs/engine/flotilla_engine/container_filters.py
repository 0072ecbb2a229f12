"""Which containers ``GET /containers/json`` lists: dockerd's rules (moby ``daemon/list.go``)."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.filters import CONTAINER_LIST, Filters, invalid_filter
from flotilla_engine.ports import parse_port_range, split_protocol
from flotilla_engine.records import ContainerRecord

STATES = frozenset({"created", "running", "paused", "restarting", "removing", "exited", "dead"})
HEALTH_STATES = frozenset({"none", "starting", "healthy", "unhealthy"})


@dataclass
class ContainerQuery:
    """What a list asks for. Look up ``before``, ``since`` and ``ancestor`` first.

    Attributes:
        filters: As parsed by ``container_query``.
        all: Also those that do not run.
        limit: At most so many, the newest; that includes those that do not run.
        before: The container of the filter ``before``: only older ones are listed.
        since: Only containers newer than this one are listed.
        ancestors: Ids of the images of the filter ``ancestor`` and of their descendants.
    """

    filters: Filters
    all: bool = False
    limit: int = 0
    before: ContainerRecord | None = None
    since: ContainerRecord | None = None
    ancestors: Collection[str] = ()
    exited: frozenset[int] = frozenset()
    published: frozenset[str] = frozenset()
    exposed: frozenset[str] = frozenset()
    is_task: bool | None = None

    @property
    def only_running(self) -> bool:
        """Whether containers that do not run are left out."""
        return not self.all and self.limit <= 0

    def matches(self, record: ContainerRecord, node_id: str, node_name: str) -> bool:
        """Tell whether a container is listed (apart from the limit)."""
        if self.only_running and not record.state.running:
            return False
        if not self.filters and self.before is None and self.since is None:
            return True
        return self._matches_identity(record, node_id, node_name) and self._matches_rest(record)

    def _matches_identity(self, record: ContainerRecord, node_id: str, node_name: str) -> bool:
        filters = self.filters
        return (
            filters.match("id", record.id)
            and (filters.match("name", record.name) or filters.match("name", f"/{record.name}"))
            and filters.labels(record.config.labels)
            and ("node" not in filters or _is_node(filters, node_id, node_name))
            and ("ancestor" not in filters or record.image_id in self.ancestors)
            and (self.before is None or record.created < self.before.created)
            and (self.since is None or record.created > self.since.created)
            and (self.is_task is None or self.is_task == _is_task(record))
        )

    def _matches_rest(self, record: ContainerRecord) -> bool:
        filters, state = self.filters, record.state
        if self.exited and (
            state.running or state.started_at is None or state.exit_code not in self.exited
        ):
            return False
        health = state.health.status if state.health is not None else "none"
        return (
            filters.exact("status", state.status)
            and filters.exact("health", health)
            and filters.exact("isolation", record.host_config.isolation)
            and ("volume" not in filters or _has_volume(filters, record))
            and ("network" not in filters or _is_in_network(filters, record))
            and (not self.published or _publishes(self.published, record))
            and (not self.exposed or not self.exposed.isdisjoint(record.config.exposed_ports))
        )


def container_query(
    text: str | None,
    *,
    all: bool = False,
    limit: int = 0,
    find: Callable[[str], ContainerRecord],
    ancestors: Callable[[str], Collection[str]] = lambda reference: (),
) -> ContainerQuery:
    """Read the filters of a list.

    Args:
        text: The parameter ``filters``.
        all: The parameter ``all``.
        limit: The parameter ``limit``.
        find: Looks up a container; its error is the answer.
        ancestors: Returns the ids of an image and its descendants, or nothing.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    filters = Filters.parse(text, CONTAINER_LIST)
    query = ContainerQuery(filters=filters, all=all, limit=limit)
    query.exited = frozenset(_exit_code(value) for value in filters.get("exited"))
    for value in filters.get("status"):
        if value not in STATES:
            raise invalid_filter("status", value)
        query.all = True
    if "is-task" in filters:
        query.is_task = filters.flag("is-task", default=False)
    for value in filters.get("health"):
        if value not in HEALTH_STATES:
            raise invalid_filter("health", value)
    for value in filters.get("before"):
        query.before = find(value)
    for value in filters.get("since"):
        query.since = find(value)
    query.published = _ports(filters, "publish")
    query.exposed = _ports(filters, "expose")
    query.ancestors = frozenset(
        image for value in filters.get("ancestor") for image in ancestors(value)
    )
    return query


def _exit_code(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InvalidArgumentError(
            f"invalid filter 'exited={value}': strconv.Atoi: parsing \"{value}\": invalid syntax"
        ) from None


def _ports(filters: Filters, name: str) -> frozenset[str]:
    ports: set[str] = set()
    for value in filters.get(name):
        if ":" in value:
            raise InvalidArgumentError(f"filter for '{name}' should not contain ':': {value}")
        protocol, port = split_protocol(value)
        try:
            first, last = parse_port_range(port)
        except ValueError as error:
            raise InvalidArgumentError(
                f"error while looking up for {name} {value}: {error}"
            ) from None
        ports.update(f"{number}/{protocol}" for number in range(first, last + 1))
    return frozenset(ports)


def _is_node(filters: Filters, node_id: str, node_name: str) -> bool:
    return filters.exact("node", node_name) or filters.fuzzy("node", node_id)


def _is_task(record: ContainerRecord) -> bool:
    return "com.docker.swarm.task.id" in record.config.labels


def _has_volume(filters: Filters, record: ContainerRecord) -> bool:
    wanted = filters.get("volume")
    return any(mount.name in wanted or mount.destination in wanted for mount in record.mounts)


def _is_in_network(filters: Filters, record: ContainerRecord) -> bool:
    return any(
        filters.exact("network", name)
        or (settings.network_id and filters.fuzzy("network", settings.network_id))
        for name, settings in record.networks.items()
    )


def _publishes(wanted: frozenset[str], record: ContainerRecord) -> bool:
    """Compare with the ports of the host, not with the container's own, as dockerd does."""
    for port, bindings in record.ports.items():
        if not bindings:
            continue
        protocol = split_protocol(port)[0]
        if any(f"{bind.host_port}/{protocol}" in wanted for bind in bindings):
            return True
    return False
