"""Twin of flotilla_gateway.placement: tables of wishes, and where they lead."""

from dataclasses import replace

import pytest

from flotilla_core.errors import ConflictError, InvalidArgumentError, UnavailableError
from flotilla_engine.records import NodeRecord, Platform
from flotilla_gateway.placement.choose import Strategy, choose
from flotilla_gateway.placement.expressions import Expression, parse, wishes
from flotilla_gateway.placement.nodes import Candidate, Home, Neighbour, PortClaim, Wanted

A = Candidate(
    NodeRecord(
        id="aaa", name="a", address="10.0.0.1", cpus=2, memory_bytes=1000, labels={"disk": "ssd"}
    )
)
B = Candidate(
    NodeRecord(
        id="bbb",
        name="b",
        address="10.0.0.2",
        cpus=8,
        memory_bytes=8000,
        labels={"disk": "hdd", "zone": "eu-1"},
        platform=Platform(architecture="arm64"),
    ),
    neighbours=[Neighbour("cid", "front", "redis:7", "sha256:1", {"tier": "web"})],
)


@pytest.mark.parametrize(
    ("labels", "env", "place"),
    [
        ({"flotilla.node": "b"}, [], "b"),
        ({"flotilla.node": "bbb"}, [], "b"),
        ({"flotilla.constraints": "node.labels.disk==hdd, node.hostname!=a"}, [], "b"),
        ({"flotilla.constraints": "node.platform.arch==aarch64"}, [], None),
        ({"flotilla.constraints": "node.platform.arch==arm64"}, [], "b"),
        ({}, ["constraint:disk==/^ss./"], "a"),
        ({}, ["constraint:zone==eu-*"], "b"),
        ({}, ["constraint:zone!=eu-1"], "a"),
        ({}, ["constraint:zone==us"], None),
        ({}, ["constraint:zone==~us"], "a"),
        ({}, ["constraint:disk==~hdd"], "b"),
        ({}, ["affinity:container==front"], "b"),
        ({}, ["affinity:container!=front"], "a"),
        ({}, ["affinity:image==redis*"], "b"),
        ({}, ["affinity:tier==web"], "b"),
        ({}, ["affinity:tier!=~web"], "a"),
        ({"com.docker.swarm.constraints": '["disk==hdd"]'}, [], "b"),
        ({"com.docker.swarm.affinities": '["container==front"]'}, [], "b"),
        ({}, ["constraintless=1", "PATH=/bin"], "a"),
    ],
)
def test_wishes_lead_to_a_node(labels: dict[str, str], env: list[str], place: str | None) -> None:
    wanted = Wanted(wishes=wishes(labels, env))
    if place is None:
        with pytest.raises(ConflictError, match=r"^no node can run this container: a: constraint"):
            choose(wanted, [A, B])
    else:
        assert choose(wanted, [A, B]).name == place


@pytest.mark.parametrize("text", ["disk", "==x", "disk=ssd", "disk==/[/", ""])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="invalid placement expression"):
        parse(text)


def test_swarm_labels_must_be_lists() -> None:
    with pytest.raises(InvalidArgumentError, match="is not a JSON list"):
        wishes({"com.docker.swarm.constraints": "disk==ssd"}, [])


def test_an_expression_reads_as_it_was_written() -> None:
    assert str(parse(" disk ==~ ssd ")) == "disk==~ssd"
    assert parse("a.b/c-d!=x==y") == Expression("a.b/c-d", False, "x==y")


def test_each_refusal_names_its_filter() -> None:
    silent = replace(A, silent_s=12.3)
    drained = replace(B, drained=True)
    with pytest.raises(ConflictError) as raised:
        choose(Wanted(), [drained, silent])
    assert raised.value.message == (
        "no node can run this container: a: unreachable for 12 seconds; b: drained"
    )
    with pytest.raises(ConflictError) as raised:
        choose(
            Wanted(nano_cpus=4 * 10**9, homes=[Home("aaa", "volume data is on another node")]),
            [A, B],
        )
    assert raised.value.message == (
        "no node can run this container: a: has 2 CPUs (4 wanted); "
        "b: volume data is on another node"
    )
    with pytest.raises(ConflictError, match=r"image is for linux/arm64"):
        choose(Wanted(platforms=[Platform(architecture="arm64")]), [A])
    with pytest.raises(UnavailableError, match="a: unreachable for 12 seconds"):
        choose(Wanted(), [silent])
    with pytest.raises(UnavailableError, match="no node has joined the fleet"):
        choose(Wanted(), [])


def test_what_is_at_home_on_a_drained_node_goes_there() -> None:
    drained = replace(B, drained=True)
    assert choose(Wanted(homes=[Home("bbb", "volume")]), [A, drained]).name == "b"


def test_strategies_rank_by_what_is_taken() -> None:
    busy = replace(A, containers=5, memory_bytes=900)
    assert choose(Wanted(), [busy, B]).name == "b"
    assert choose(Wanted(), [busy, B], Strategy.BINPACK).name == "a"
    picked = {choose(Wanted(), [A, B], Strategy.RANDOM).name for _ in range(200)}
    assert picked == {"a", "b"}


@pytest.mark.parametrize(
    ("mine", "other", "clash"),
    [
        (PortClaim("tcp", 80), PortClaim("tcp", 80, "127.0.0.1"), True),
        (PortClaim("tcp", 80, "10.0.0.1"), PortClaim("tcp", 80, "10.0.0.2"), False),
        (PortClaim("tcp", 80), PortClaim("udp", 80), False),
        (PortClaim("tcp", 80), PortClaim("tcp", 81), False),
    ],
)
def test_ports_clash_on_one_address(mine: PortClaim, other: PortClaim, clash: bool) -> None:
    assert mine.clashes(other) is clash
    assert other.clashes(mine) is clash


def test_a_bound_port_is_avoided_before_a_claimed_one() -> None:
    port = PortClaim("tcp", 80)
    bound = replace(A, claimed=[port], bound=[port])
    claimed = replace(B, claimed=[port], containers=9)
    assert choose(Wanted(ports=[port]), [bound, claimed]).name == "b"
    assert choose(Wanted(ports=[port]), [bound, claimed, replace(A, containers=99)]).name == "a"
