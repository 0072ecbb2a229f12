"""Twin of flotilla_gateway.catalogue, on SQLite and on a real PostgreSQL."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from flotilla_core.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from flotilla_core.ids import new_id
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.mounts import MountPoint
from flotilla_engine.networking import EndpointIPAMConfig, EndpointSettings, Ipam, IpamConfig
from flotilla_engine.records import (
    ContainerChange,
    ContainerRecord,
    NetworkRecord,
    NodeInfo,
    NodeRecord,
    VolumeRecord,
)
from flotilla_engine.state import ContainerState
from flotilla_gateway.catalogue.catalogue import Catalogue
from flotilla_gateway.catalogue.entries import NewContainer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def new(name: str, *, node: str = "node-a", **fields: object) -> NewContainer:
    values: dict[str, object] = {
        "id": new_id(),
        "name": name,
        "node_id": node,
        "created_at": NOW.timestamp(),
        "image_id": "sha256:1",
        "image": "busybox",
        "labels": {},
    }
    return NewContainer(**(values | fields))  # type: ignore[arg-type]


def record(container: NewContainer, revision: int, *, status: str = "created") -> ContainerRecord:
    return ContainerRecord(
        id=container.id,
        name=container.name,
        node_id=container.node_id,
        revision=revision,
        created=NOW,
        image_id="sha256:1",
        image="busybox",
        config=ContainerConfig(),
        host_config=HostConfig(),
        state=ContainerState(status=status, running=status == "running"),
    )


def change(container: NewContainer, revision: int, *, status: str = "created") -> ContainerChange:
    return ContainerChange(
        id=container.id, revision=revision, record=record(container, revision, status=status)
    )


async def made(catalogue: Catalogue, name: str, **fields: object) -> NewContainer:
    container = new(name, **fields)  # type: ignore[arg-type]
    await catalogue.containers.reserve(container)
    await catalogue.containers.apply(container.node_id, change(container, 1))
    return container


async def network(catalogue: Catalogue, name: str, subnet: str) -> NetworkRecord:
    ipam = Ipam(config=[IpamConfig(subnet=subnet)])
    wanted = NetworkRecord(id=new_id(), name=name, created=NOW, ipam=ipam)
    return await catalogue.networks.create(name, lambda taken: (wanted, ipam), configured=True)


async def joined(catalogue: Catalogue, name: str) -> str:
    info = NodeInfo(node=NodeRecord(id=f"node-{name}", name=name, address="10.0.0.1"))
    return (await catalogue.nodes.join(info)).id


async def test_a_name_is_taken_once(catalogue: Catalogue) -> None:
    first = new("web")
    await catalogue.containers.reserve(first)
    with pytest.raises(ConflictError) as raised:
        await catalogue.containers.reserve(new("web"))
    assert raised.value.message == (
        f'Conflict. The container name "/web" is already in use by container "{first.id}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    other = await made(catalogue, "other")
    with pytest.raises(ConflictError, match='name "/web" is already in use'):
        await catalogue.containers.rename(other.id, "web")


async def test_only_one_of_many_at_once_gets_the_name(
    catalogue: Catalogue, other_gateway: Catalogue
) -> None:
    gateways = [catalogue, other_gateway]
    outcomes = await asyncio.gather(
        *(gateways[turn % 2].containers.reserve(new("one")) for turn in range(20)),
        return_exceptions=True,
    )
    assert [outcome for outcome in outcomes if outcome is None] == [None]
    assert all(isinstance(outcome, ConflictError | None) for outcome in outcomes)


async def test_all_are_listed_however_few_are_kept_in_memory(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flotilla_gateway.catalogue.known_records.MAX_RECORDS", 2)
    for name in ("a", "b", "c", "d", "e"):
        await made(catalogue, name)
    for _ in range(2):
        assert sorted(entry.name for entry in await catalogue.containers.all()) == [*"abcde"]


async def test_containers_are_found_by_id_name_and_prefix(catalogue: Catalogue) -> None:
    twin = "ab" + new_id()[2:]
    first = await made(catalogue, "first", id="abc1" + twin[4:])
    second = await made(catalogue, "second", id="abc2" + twin[4:])
    find = catalogue.containers.find
    for reference in (first.id, "first", "/first", "abc1"):
        assert (await find(reference)).id == first.id
    with pytest.raises(InvalidArgumentError, match="Multiple IDs found with provided prefix: abc"):
        await find("abc")
    await made(catalogue, "abc2")
    assert (await find("abc2")).name == "abc2"
    assert (await find(second.id[:20])).id == second.id
    for missing in ("nope", "", "abd"):
        with pytest.raises(NotFoundError, match=f"^No such container: {missing}$"):
            await find(missing)


async def test_an_older_word_never_overwrites_a_newer_one(catalogue: Catalogue) -> None:
    container = await made(catalogue, "web")
    apply = catalogue.containers.apply
    assert (await apply("node-a", change(container, 5, status="running"))).running_changed
    assert not (await apply("node-a", change(container, 4, status="exited"))).changed
    assert (await apply("node-b", change(container, 9))).unknown
    [entry] = await catalogue.containers.all()
    assert (entry.revision, entry.record and entry.record.state.status) == (5, "running")
    gone = await apply("node-a", ContainerChange(id=container.id, revision=6))
    assert gone.removed
    assert await catalogue.containers.all() == []


async def test_a_half_made_container_is_not_listed_and_can_be_discarded(
    catalogue: Catalogue,
) -> None:
    container = new("web")
    await catalogue.containers.reserve(container)
    assert await catalogue.containers.all() == []
    await catalogue.containers.discard(container.id)
    await catalogue.containers.reserve(new("web"))
    assert not await catalogue.containers.adopt("node-a", change(container, 1))


async def test_a_container_that_only_its_node_knows_is_taken_in(catalogue: Catalogue) -> None:
    await made(catalogue, "web")
    stranger = new("web")
    assert await catalogue.containers.adopt("node-a", change(stranger, 3, status="running"))
    entry = await catalogue.containers.find(stranger.id)
    assert entry.name == f"web-{stranger.id[:12]}"
    await catalogue.containers.remove(stranger.id)
    assert not await catalogue.containers.adopt("node-a", change(stranger, 4))


async def test_volumes_of_a_new_container_are_noted(catalogue: Catalogue) -> None:
    container = new("db")
    await catalogue.containers.reserve(container)
    first = change(container, 1)
    assert first.record is not None
    name = new_id()
    first.record.mounts = [MountPoint(type="volume", name=name, source="/x/_data")]
    await catalogue.containers.apply("node-a", first)
    volume = await catalogue.volumes.get(name)
    assert (volume.anonymous, volume.node_id, volume.mountpoint) == (True, "node-a", "/x/_data")
    with pytest.raises(ConflictError) as raised:
        await catalogue.volumes.remove(name)
    assert raised.value.message == f"remove {name}: volume is in use - [{container.id}]"
    await catalogue.containers.remove(container.id)
    await catalogue.volumes.remove(name)
    with pytest.raises(NotFoundError, match=f"get {name}: no such volume"):
        await catalogue.volumes.get(name)


async def test_a_volume_is_bound_to_one_home(catalogue: Catalogue) -> None:
    await catalogue.volumes.create(VolumeRecord(name="data", created=NOW, labels={"a": "b"}))
    again = await catalogue.volumes.create(VolumeRecord(name="data", created=NOW))
    assert (again.node_id, again.labels) == ("", {"a": "b"})
    homes = await asyncio.gather(
        *(catalogue.volumes.bind("data", f"node-{letter}") for letter in "abcdef")
    )
    assert len(set(homes)) == 1


@pytest.mark.parametrize("gateways", [1, 2])
async def test_no_address_is_leased_twice(
    catalogue: Catalogue, other_gateway: Catalogue, gateways: int
) -> None:
    catalogues = [catalogue, other_gateway]
    await joined(catalogue, "a")
    web = await network(catalogue, "web", "10.5.0.0/24")
    containers = [
        await made(catalogue, f"c{number}", networks={web.id: EndpointSettings()})
        for number in range(50)
    ]
    await asyncio.gather(
        *(
            catalogues[number % gateways].networks.lease(container.id)
            for number, container in enumerate(containers)
        )
    )
    endpoints = await catalogue.networks.endpoints(web.id)
    assert sorted({endpoint.ipv4_address for endpoint in endpoints}) == sorted(
        f"10.5.0.{number}/24" for number in range(2, 52)
    )
    assert len({endpoint.mac_address for endpoint in endpoints}) == 50
    assert endpoints[0].mac_address.startswith("02:42:0a:05:00:")


async def test_leases_of_stopped_containers_are_taken_over_when_needed(
    catalogue: Catalogue,
) -> None:
    await joined(catalogue, "a")
    tiny = await network(catalogue, "tiny", "10.5.0.0/30")  # the gateway and one more
    fixed = EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="10.5.0.2"))
    first = await made(catalogue, "first", networks={tiny.id: EndpointSettings()})
    second = await made(catalogue, "second", networks={tiny.id: EndpointSettings()})
    third = await made(catalogue, "third", networks={tiny.id: fixed})
    await catalogue.networks.lease(first.id)
    await catalogue.networks.lease(second.id)
    [endpoint] = await catalogue.networks.of_container(first.id)
    assert endpoint.ipv4_address == ""
    await catalogue.networks.lease(third.id)
    await catalogue.containers.apply("node-a", change(third, 2, status="running"))
    with pytest.raises(Exception, match="no available IPv4 addresses") as raised:
        await catalogue.networks.lease(first.id)
    assert str(raised.value).endswith(f"tiny ({tiny.id})")
    fourth = await made(catalogue, "fourth", networks={tiny.id: fixed})
    with pytest.raises(PermissionDeniedError, match=r"^Address already in use$"):
        await catalogue.networks.lease(fourth.id)


async def test_a_change_gives_a_network_its_next_revision(catalogue: Catalogue) -> None:
    await joined(catalogue, "a")
    web = await network(catalogue, "web", "10.5.0.0/24")
    container = await made(catalogue, "c", networks={web.id: EndpointSettings(aliases=["www"])})
    await catalogue.networks.lease(container.id)
    state = await catalogue.networks.state(web.id)
    assert state is not None
    assert [node.id for node in state.nodes] == ["node-a"]
    assert state.endpoints[0].names == ["c", "www", container.id[:12]]
    assert await catalogue.networks.behind() == [(web.id, "node-a")]
    await catalogue.networks.applied(web.id, "node-a", state.revision, takes_part=True)
    assert await catalogue.networks.behind() == []
    await catalogue.containers.apply("node-a", change(container, 2, status="running"))
    assert await catalogue.networks.behind() == [(web.id, "node-a")]
    with pytest.raises(PermissionDeniedError, match="has active endpoints"):
        await catalogue.networks.remove(web.id)
    await catalogue.containers.apply("node-a", change(container, 3, status="exited"))
    await catalogue.networks.remove(web.id)
    assert await catalogue.networks.state(web.id) is None
    assert await catalogue.networks.behind() == [(web.id, "node-a")]
    await catalogue.networks.applied(web.id, "node-a", 0, takes_part=False)
    assert await catalogue.networks.behind() == []


async def test_a_node_that_got_an_endpoint_meanwhile_stays_in_the_network(
    catalogue: Catalogue,
) -> None:
    await joined(catalogue, "a")
    web = await network(catalogue, "web", "10.5.0.0/24")
    container = await made(catalogue, "c1", networks={web.id: EndpointSettings()})
    await catalogue.networks.lease(container.id)
    await catalogue.networks.applied(web.id, "node-a", 1, takes_part=False)
    assert await catalogue.networks.behind() == [(web.id, "node-a")]
    await catalogue.networks.disconnect(web.id, container.id)
    await catalogue.networks.applied(web.id, "node-a", 9, takes_part=False)
    assert await catalogue.networks.participants(web.id) == {}


async def test_networks_get_different_vnis_and_names(catalogue: Catalogue) -> None:
    made_networks = await asyncio.gather(
        *(network(catalogue, f"n{number}", f"10.{number}.0.0/24") for number in range(10))
    )
    assert len({one.vni for one in made_networks}) == 10
    with pytest.raises(ConflictError, match=r"^network with name n1 already exists$"):
        await network(catalogue, "n1", "10.99.0.0/24")


async def test_nodes_have_names_of_their_own(catalogue: Catalogue) -> None:
    info = NodeInfo(node=NodeRecord(id="a" * 25, name="host", address="10.0.0.1"))
    twin = NodeInfo(node=NodeRecord(id="b" * 25, name="host", address="10.0.0.2"))
    await catalogue.nodes.join(info)
    await catalogue.nodes.join(twin)
    await catalogue.nodes.join(twin)
    assert [node.name for node in await catalogue.nodes.all()] == ["host", "host-bbbbb"]
    await catalogue.nodes.change("a" * 25, labels={"disk": "ssd"}, drained=True)
    await catalogue.nodes.join(info)
    node = await catalogue.nodes.find("host")
    assert (node.info.node.labels, node.drained) == ({"disk": "ssd"}, True)
    assert (await catalogue.nodes.find("bb")).name == "host-bbbbb"
    with pytest.raises(NotFoundError, match="node nope not found"):
        await catalogue.nodes.find("nope")


async def test_join_tokens_hold_until_they_expire(catalogue: Catalogue) -> None:
    token = await catalogue.nodes.new_token()
    await catalogue.nodes.check_token(token)
    expired = await catalogue.nodes.new_token(lifetime_s=-1)
    for wrong in (expired, token[:-1], "", "FLTJN-x-y"):
        with pytest.raises(UnauthenticatedError):
            await catalogue.nodes.check_token(wrong)


async def test_a_volume_shows_where_it_is_once_it_is_used(catalogue: Catalogue) -> None:
    await catalogue.volumes.create(VolumeRecord(name="data", created=NOW))
    await catalogue.volumes.bind("data", "node-a")
    container = new("db", volumes={"data"})
    await catalogue.containers.reserve(container)
    first = change(container, 1)
    assert first.record is not None
    first.record.mounts = [MountPoint(type="volume", name="data", source="/x/_data")]
    await catalogue.containers.apply("node-a", first)
    assert (await catalogue.volumes.get("data")).mountpoint == "/x/_data"


async def test_a_create_whose_gateway_died_blocks_its_name_not_for_long(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned, attended = new("web"), new("db")
    await catalogue.containers.reserve(abandoned)
    await catalogue.containers.reserve(attended)
    with pytest.raises(ConflictError):
        await catalogue.containers.reserve(new("web"))
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    await catalogue.containers.attend([attended.id])
    await catalogue.containers.reserve(new("web"))
    with pytest.raises(ConflictError):
        await catalogue.containers.reserve(new("db"))
    assert not await catalogue.containers.adopt("node-a", change(abandoned, 1))
