"""Tests of ``flotilla_engine.filters``, ``container_filters`` and ``event_filters``."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from flotilla_core.errors import InvalidArgumentError, NotFoundError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.container_filters import container_query
from flotilla_engine.event_filters import includes
from flotilla_engine.events import Actor, EventMessage
from flotilla_engine.filters import CONTAINER_LIST, Filters
from flotilla_engine.host_config import HostConfig, PortBinding
from flotilla_engine.mounts import MountPoint
from flotilla_engine.networking import EndpointSettings
from flotilla_engine.records import ContainerRecord
from flotilla_engine.state import ContainerState

START = datetime(2026, 1, 1, tzinfo=UTC)


def container(name: str, age: int, state: ContainerState) -> ContainerRecord:
    return ContainerRecord(
        id=name[0] * 64,
        name=name,
        node_id="node1",
        created=START + timedelta(seconds=age),
        image_id=f"sha256:{name}",
        image="busybox",
        config=ContainerConfig(labels={"who": name}, exposed_ports={"80/tcp": {}}),
        host_config=HostConfig(),
        state=state,
        networks={"net": EndpointSettings(network_id="abc")},
        ports={"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")]},
        mounts=[MountPoint(type="volume", name="data", destination="/data")],
    )


RUNNING = container("alpha", 1, ContainerState(status="running", running=True, started_at=START))
EXITED = container("beta", 2, ContainerState(status="exited", exit_code=3, started_at=START))
CREATED = container("gamma", 3, ContainerState())
ALL = (RUNNING, EXITED, CREATED)


def find(reference: str) -> ContainerRecord:
    for record in ALL:
        if record.name == reference:
            return record
    raise NotFoundError(f"No such container: {reference}")


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, "alpha beta gamma"),
        ({"name": ["^/?al"]}, "alpha"),
        ({"name": ["a$"]}, "alpha beta gamma"),
        ({"name": ["/beta"]}, "beta"),
        ({"name": ["("]}, ""),
        ({"id": ["bbb"]}, "beta"),
        ({"label": ["who"]}, "alpha beta gamma"),
        ({"label": ["who=beta"]}, "beta"),
        ({"label": ["who=beta", "x"]}, ""),
        ({"status": ["created", "exited"]}, "beta gamma"),
        ({"exited": ["3"]}, "beta"),
        ({"exited": ["0"]}, ""),
        ({"before": ["beta"]}, "alpha"),
        ({"since": {"beta": True}}, "gamma"),
        ({"ancestor": ["x"]}, "beta"),
        ({"volume": ["/data"]}, "alpha beta gamma"),
        ({"volume": ["other"]}, ""),
        ({"network": ["ab"]}, "alpha beta gamma"),
        ({"network": ["other"]}, ""),
        ({"publish": ["8080"]}, "alpha beta gamma"),
        ({"publish": ["80"]}, ""),
        ({"expose": ["80"]}, "alpha beta gamma"),
        ({"expose": ["80/udp"]}, ""),
        ({"node": ["one"]}, "alpha beta gamma"),
        ({"node": ["two"]}, ""),
        ({"health": ["none"]}, "alpha beta gamma"),
        ({"is-task": ["true"]}, ""),
    ],
)
def test_lists_hold_what_dockerd_lists(filters: dict[str, object], names: str) -> None:
    query = container_query(
        json.dumps(filters), all=True, find=find, ancestors=lambda reference: ["sha256:beta"]
    )
    listed = [record.name for record in ALL if query.matches(record, "node1", "one")]
    assert " ".join(listed) == names


def test_only_running_ones_are_listed_unless_more_was_asked_for() -> None:
    assert not container_query(None, find=find).matches(EXITED, "n", "n")
    assert container_query(None, limit=1, find=find).matches(EXITED, "n", "n")
    by_status = container_query('{"status":["exited"]}', find=find)
    assert by_status.matches(EXITED, "n", "n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "invalid filter"),
        ("[]", "invalid filter"),
        ('{"name":"x"}', "invalid filter"),
        ('{"name":["\\ud800"]}', "invalid filter"),
        ('{"x":["y"]}', "invalid filter 'x'"),
        ('{"status":["x"]}', "invalid filter 'status=x'"),
        ('{"health":["x"]}', "invalid filter 'health=x'"),
        ('{"is-task":["x"]}', "invalid filter 'is-task=[x]'"),
        ('{"publish":["1:2"]}', "filter for 'publish' should not contain ':': 1:2"),
        (
            '{"exited":["x"]}',
            "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
    ],
)
def test_wrong_filters_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        container_query(text, find=find)
    assert caught.value.message == message


def test_unknown_container_in_a_filter_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        container_query('{"before":["nope"]}', find=find)


def test_prune_labels_can_be_negated() -> None:
    filters = Filters.parse('{"label!":["keep"]}')
    assert filters.prune_labels({"a": "b"})
    assert not filters.prune_labels({"keep": ""})


def test_flags_have_one_value() -> None:
    assert Filters.parse('{"dangling":{"1":true}}').flag("dangling", default=False)
    assert Filters.parse(None, CONTAINER_LIST).flag("dangling", default=True)
    with pytest.raises(InvalidArgumentError):
        Filters.parse('{"dangling":["true","false"]}').flag("dangling", default=False)


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({"type": ["container"]}, True),
        ({"type": ["image"]}, False),
        ({"event": ["die"]}, False),
        ({"event": ["health_status"]}, True),
        ({"event": ["health_status: healthy"]}, True),
        ({"container": ["web"]}, True),
        ({"container": ["abc"]}, True),
        ({"container": ["db"]}, False),
        ({"image": ["redis"]}, True),
        ({"image": ["redis:7"]}, True),
        ({"image": ["nginx"]}, False),
        ({"label": ["tier=front"]}, True),
        ({"label": ["tier=back"]}, False),
        ({"scope": ["swarm"]}, False),
        ({"node": ["one"]}, True),
        ({"node": ["two"]}, False),
    ],
)
def test_events_are_filtered_as_dockerd_does(filters: dict[str, list[str]], shown: bool) -> None:
    attributes = {"name": "web1", "image": "redis:7", "tier": "front", "node.name": "one"}
    event = EventMessage(
        type="container",
        action="health_status: healthy",
        actor=Actor(id="abcdef", attributes=attributes),
    )
    assert includes(Filters(filters), event) is shown
