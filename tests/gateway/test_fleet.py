"""Twin of flotilla_gateway.domain and routes: two fake nodes behind a real bus, by HTTP."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from flotilla_bus import Empty
from flotilla_bus.contracts import gateway
from flotilla_core.errors import ConflictError
from flotilla_core.ids import new_id
from flotilla_engine.records import ContainerRecord, TunnelEnd


def filtered(**values: list[str]) -> str:
    return "?all=1&filters=" + quote(json.dumps(values))


async def test_containers_are_spread_and_listed_newest_first(hosts: Any) -> None:
    places = [(await hosts.run(f"c{number}"))[1] for number in range(4)]
    assert sorted(places) == ["a", "a", "b", "b"]
    listed = await hosts.get("/containers/json")
    assert [one["Names"] for one in listed] == [["/c3"], ["/c2"], ["/c1"], ["/c0"]]
    await hosts.post("/containers/c0/stop", status=204)
    assert (await hosts.api.post("/containers/c0/stop")).status_code == 304
    assert len(await hosts.get("/containers/json")) == 3
    assert len(await hosts.get("/containers/json?all=1")) == 4
    on_a = await hosts.get("/containers/json" + filtered(node=["a"]))
    assert len(on_a) == 2
    in_view = await hosts.get("http://fleet/on/a/v1.45/containers/json?all=1")
    assert {one["Id"] for one in in_view} == {one["Id"] for one in on_a}


async def test_constraints_decide_and_a_refusal_says_why(hosts: Any) -> None:
    for wish in (
        {"Labels": {"flotilla.node": "a"}},
        {"Labels": {"flotilla.constraints": "node.labels.disk==ssd"}},
        {"Env": ["constraint:disk==s*"]},
        {"Labels": {"com.docker.swarm.constraints": '["disk==/ss./"]'}},
    ):
        container, node = await hosts.run("", **wish)
        assert node == "a", wish
    assert (await hosts.run("", Env=["affinity:container!=" + container]))[1] == "b"
    inspected = await hosts.get(f"/containers/{container}/json")
    assert not [one for one in inspected["Config"]["Env"] if one.startswith("constraint")]
    refusal = await hosts.post(
        "/containers/create",
        {"Image": "busybox", "Env": ["constraint:disk==hdd"]},
        status=409,
    )
    assert refusal["message"] == (
        "no node can run this container: a: constraint disk==hdd not met (disk is ssd); "
        "b: constraint disk==hdd not met"
    )


async def test_the_same_port_goes_to_another_node_and_then_anywhere(hosts: Any) -> None:
    wish = {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}}
    places = [(await hosts.run(f"web{number}", **wish))[1] for number in range(2)]
    assert sorted(places) == ["a", "b"]
    await hosts.run("web2", **wish)


async def test_where_a_node_goes_away_another_takes_the_container(hosts: Any) -> None:
    for refusing, other in (("a", "b"), ("b", "a")):
        hosts.nodes[refusing].refuses, hosts.nodes[other].refuses = True, False
        identifier, node = await hosts.run(f"not-on-{refusing}")
        assert node == other
        (request,) = hosts.nodes[other].created
        assert request.id == identifier
        assert request.config.hostname == identifier[:12]


async def test_what_belongs_together_goes_together(hosts: Any) -> None:
    first, home = await hosts.run("first", HostConfig={"Binds": ["data:/data"]})
    for number in range(4):
        await hosts.run(f"filler{number}")
    for host_config in (
        {"Binds": ["data:/data"]},
        {"VolumesFrom": ["first:ro"]},
        {"NetworkMode": "container:first"},
        {"IpcMode": "container:first"},
        {"Links": ["first:db"]},
    ):
        assert (await hosts.run("", HostConfig=host_config))[1] == home
    request = hosts.nodes[home].created[0]
    assert [(one.name, one.node_id) for one in request.volumes] == [("data", hosts.nodes[home].id)]
    missing = await hosts.post(
        "/containers/create",
        {"Image": "busybox", "HostConfig": {"VolumesFrom": ["nope"]}},
        status=400,
    )
    assert missing == {"message": "No such container: nope"}
    assert await hosts.api.delete("/volumes/data")
    in_use = (await hosts.api.delete("/volumes/data")).json()["message"]
    assert in_use.startswith("remove data: volume is in use - [")
    assert first in in_use


async def test_what_is_missing_is_said_as_dockerd_says_it(hosts: Any) -> None:
    for method, path, status, message in (
        ("POST", "/containers/nope/start", 404, "No such container: nope"),
        ("POST", "/containers/nope/kill", 404, "No such container: nope"),
        ("DELETE", "/containers/nope", 404, "No such container: nope"),
        ("GET", "/networks/nope", 404, "network nope not found"),
        ("GET", "/volumes/nope", 404, "get nope: no such volume"),
        (
            "DELETE",
            "/networks/bridge",
            403,
            "bridge is a pre-defined network and cannot be removed",
        ),
        ("GET", "/containers/json?limit=z", 400, 'strconv.Atoi: parsing "z": invalid syntax'),
        ("GET", '/networks?filters={"foo":["x"]}', 400, "invalid filter 'foo'"),
    ):
        answer = await hosts.api.request(method, path)
        assert answer.status_code == status, path
        assert answer.json()["message"].endswith(message), path
    refusal = await hosts.post("/containers/create", {"Image": "nope"}, status=404)
    assert refusal == {"message": "No such image: nope:latest"}
    assert (await hosts.api.delete("/volumes/nope?force=1")).status_code == 204


async def test_names_are_unique_in_the_fleet_and_can_be_given_anew(hosts: Any) -> None:
    container, _ = await hosts.run("web")
    for _ in range(3):
        refusal = await hosts.post("/containers/create?name=web", {"Image": "busybox"}, status=409)
        assert f'name "/web" is already in use by container "{container}"' in refusal["message"]
    await hosts.post("/containers/web/rename?name=old", status=204)
    await hosts.run("web")
    taken = await hosts.post("/containers/old/rename?name=web", status=409)
    assert taken["message"].startswith("Error when allocating new name: Conflict. The container")
    assert (await hosts.api.delete("/containers/old?force=1")).status_code == 204
    await hosts.post("/containers/web/rename?name=old", status=204)


async def test_a_network_gets_addresses_at_start_and_all_its_nodes_know_them(
    hosts: Any, eventually: Any
) -> None:
    made = await hosts.post("/networks/create", {"Name": "net", "Labels": {"x": "y"}})
    network = await hosts.get("/networks/net")
    assert network["IPAM"]["Config"] == [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]
    for name in ("one", "two"):
        await hosts.run(
            name,
            HostConfig={"NetworkMode": "net"},
            NetworkingConfig={"EndpointsConfig": {"net": {"Aliases": [f"alias-{name}"]}}},
        )

    def settled(running: int) -> bool:
        states = [node.networks.get(made["Id"]) for node in hosts.nodes.values()]
        return all(
            state is not None and sum(one.running for one in state.endpoints) == running
            for state in states
        )

    await eventually(lambda: settled(2))
    state = hosts.nodes["a"].networks[made["Id"]]
    assert {node.name for node in state.nodes} == {"a", "b"}
    assert state.network.vni
    assert sorted(one.ipv4_address for one in state.endpoints) == ["172.18.0.2/16", "172.18.0.3/16"]
    assert {one.names[1] for one in state.endpoints} == {"alias-one", "alias-two"}
    members = (await hosts.get("/networks/net"))["Containers"]
    assert {one["Name"] for one in members.values()} == {"one", "two"}
    in_use = await hosts.api.delete("/networks/net")
    assert in_use.status_code == 403
    assert "has active endpoints" in in_use.json()["message"]
    await hosts.post("/containers/two/stop", status=204)
    await eventually(lambda: settled(1))
    assert len((await hosts.get("/networks/net"))["Containers"]) == 1
    await hosts.post("/networks/net/disconnect", {"Container": "one"}, status=200)
    assert (await hosts.api.delete("/networks/net")).status_code == 204
    await eventually(lambda: not any(node.networks for node in hosts.nodes.values()))


async def test_connecting_gives_a_running_container_an_address(hosts: Any) -> None:
    ipam = {"Config": [{"Subnet": "10.9.0.0/24"}]}
    await hosts.post("/networks/create", {"Name": "net", "IPAM": ipam})
    await hosts.run("c1")
    asked = {"IPAMConfig": {"IPv4Address": "10.9.0.77"}}
    body = {"Container": "c1", "EndpointConfig": asked}
    await hosts.post("/networks/net/connect", body, status=200)
    members = (await hosts.get("/networks/net"))["Containers"]
    assert [one["IPv4Address"] for one in members.values()] == ["10.9.0.77/24"]
    again = await hosts.post("/networks/net/connect", body, status=403)
    assert again == {"message": "endpoint with name c1 already exists in network net"}
    host = await hosts.post("/networks/host/connect", {"Container": "c1"}, status=400)
    assert host["message"].startswith("container cannot be disconnected from host network")


async def test_default_networks_are_the_fleets(hosts: Any) -> None:
    networks = {one["Name"]: one for one in await hosts.get("/networks")}
    assert set(networks) == {"bridge", "host", "none"}
    assert networks["bridge"]["IPAM"]["Config"][0]["Gateway"] == "172.17.0.1"
    await hosts.run("c1")
    [settings] = hosts.nodes["a"].created[0].endpoints
    assert (settings.network_name, settings.network_id) == ("bridge", networks["bridge"]["Id"])


async def test_a_volume_lives_where_it_is_first_used(hosts: Any) -> None:
    assert (await hosts.post("/volumes/create", {"Name": "data"}))["Mountpoint"] == ""
    _, home = await hosts.run("one", HostConfig={"Binds": ["data:/data"]})
    volume = await hosts.get("/volumes/data")
    assert volume["Name"] == "data"
    assert (await hosts.run("two", HostConfig={"Binds": ["data:/data"]}))[1] == home
    dangling = await hosts.get("/volumes" + filtered(dangling=["true"]))
    assert dangling["Volumes"] == []
    pruned = await hosts.post("/volumes/prune", status=200)
    assert pruned == {"VolumesDeleted": [], "SpaceReclaimed": 0}


async def test_a_node_that_lost_a_container_is_believed(hosts: Any) -> None:
    first, home = await hosts.run("first")
    node = hosts.nodes[home]
    stranger: ContainerRecord = node.containers[first].model_copy(
        update={"id": new_id(), "name": "stranger", "revision": 7}
    )
    node.containers[stranger.id] = stranger
    answer = await node.join()
    assert answer.stray == []
    assert (await hosts.get("/containers/stranger/json"))["Id"] == stranger.id
    assert (await hosts.api.delete("/containers/stranger")).status_code == 204
    node.containers[stranger.id] = stranger
    assert (await node.join()).stray == [stranger.id]
    elsewhere = next(one for one in hosts.nodes.values() if one is not node)
    elsewhere.containers[first] = node.containers[first]  # a host that was copied with its disk
    assert (await elsewhere.join()).stray == [first]
    del elsewhere.containers[first]


async def test_what_a_node_has_removed_before_it_could_tell_is_forgotten(hosts: Any) -> None:
    there = {"flotilla.node": "a"}
    gone, kept, made_since = [
        (await hosts.run(name, Labels=there))[0] for name in ("gone", "kept", "made-since")
    ]
    node = hosts.nodes["a"]
    del node.containers[gone]
    node.uncounted.add(made_since)
    await node.join()
    listed = await hosts.get("/containers/json?all=1")
    assert {one["Id"] for one in listed} == {kept, made_since}


async def test_half_an_inventory_makes_nobody_forget_the_other_half(
    hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flotilla_gateway.domain.sync._YOUNG_S", -60.0)
    there = {"flotilla.node": "a"}
    known = [(await hosts.run(f"c{number}", Labels=there))[0] for number in range(2)]
    node = hosts.nodes["a"]
    for container in known:
        node.changed(container, status="paused", paused=True)
    node.tells_at_join = 1
    answer = await node.join()
    assert sorted(answer.wanted) == sorted(known)
    listed = await hosts.get("/containers/json")
    assert sorted(one["Id"] for one in listed) == sorted(known)
    assert sorted(one["State"] for one in listed) == ["paused", "running"]
    node.tells_at_join = 100
    assert len((await node.join()).wanted) == 1
    listed = await hosts.get("/containers/json")
    assert [one["State"] for one in listed] == ["paused", "paused"]


async def test_changes_that_a_node_reports_are_listed(hosts: Any) -> None:
    container, home = await hosts.run("c1")
    node = hosts.nodes[home]
    node.changed(container, status="exited", running=False, exit_code=3)
    assert not (await node.tell(container)).rejoin
    [listed] = await hosts.get("/containers/json" + filtered(exited=["3"], status=["exited"]))
    assert listed["Id"] == container


async def test_two_creates_of_one_name_at_once_make_one_container(hosts: Any) -> None:
    answers = await asyncio.gather(
        *(hosts.api.post("/containers/create?name=c1", json={"Image": "busybox"}) for _ in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert sum(len(node.containers) for node in hosts.nodes.values()) == 1


async def test_containers_that_are_made_at_once_are_spread_too(hosts: Any) -> None:
    answers = await asyncio.gather(
        *(hosts.api.post("/containers/create", json={"Image": "busybox"}) for _ in range(8))
    )
    assert [answer.status_code for answer in answers] == [201] * 8
    assert [len(node.containers) for node in hosts.nodes.values()] == [4, 4]


async def test_what_is_known_of_a_silent_node_is_marked(hosts: Any) -> None:
    container, home = await hosts.run("c1")
    hosts.nodes[home].silent = True
    await asyncio.wait_for(hosts.fleet.nodes.lost(hosts.nodes[home].id), 60)
    inspected = await hosts.get(f"/containers/{container}/json")
    assert inspected["Node"]["Status"] == "unreachable"
    [listed] = await hosts.get("/containers/json")
    assert listed["Status"].startswith("Unreachable for ")
    refusal = await hosts.post(f"/containers/{container}/stop", status=503)
    assert refusal["message"].startswith(f"node {home} is unreachable (for ")
    assert (await hosts.run("c2"))[1] != home
    hosts.nodes[home].silent = False
    await hosts.nodes[home].join()
    await hosts.post(f"/containers/{container}/stop", status=204)


async def test_a_node_that_is_gone_for_good_is_forgotten_with_its_containers(hosts: Any) -> None:
    container, home = await hosts.run("c1", HostConfig={"Binds": ["data:/data"]})
    node = hosts.nodes[home]
    other = next(one for one in hosts.nodes.values() if one is not node)
    removal = gateway.NodeRequest(node=home)
    with pytest.raises(ConflictError, match="is alive: stop its agent first"):
        await other.bus.call(gateway.NODE_REMOVE, removal)
    node.silent = True
    await asyncio.wait_for(hosts.fleet.nodes.lost(node.id), 60)
    await other.bus.call(gateway.NODE_REMOVE, removal)
    assert await hosts.get("/containers/json?all=1") == []
    assert (await hosts.api.get("/volumes/data")).status_code == 404
    again, place = await hosts.run("c1", HostConfig={"Binds": ["data:/data"]})
    assert place == other.name
    assert (await other.bus.call(gateway.NODES, Empty())).nodes[0].name == other.name
    assert (await node.join()).stray == []
    listed = {one["Id"]: one["Names"] for one in await hosts.get("/containers/json")}
    assert listed == {container: [f"/c1-{container[:12]}"], again: ["/c1"]}


async def test_new_networks_keep_off_the_hosts_own_routes(hosts: Any) -> None:
    hosts.nodes["b"].subnets = ["172.18.0.0/15", "10.0.0.0/24"]
    await hosts.nodes["b"].join()
    await hosts.post("/networks/create", {"Name": "net"})
    network = await hosts.get("/networks/net")
    assert network["IPAM"]["Config"] == [{"Subnet": "172.20.0.0/16", "Gateway": "172.20.0.1"}]
    asked = {"Config": [{"Subnet": "10.0.0.0/24"}]}
    await hosts.post("/networks/create", {"Name": "asked", "IPAM": asked})


async def test_encrypted_network_takes_only_nodes_that_can(hosts: Any) -> None:
    await hosts.post("/networks/create", {"Name": "secret", "Options": {"encrypted": ""}})
    assert (await hosts.get("/networks/secret"))["Options"] == {"encrypted": ""}
    asked = {"Image": "busybox", "HostConfig": {"NetworkMode": "secret"}}
    refusal = await hosts.post("/containers/create", asked, status=409)
    assert "b: cannot encrypt network secret (its agent is older)" in refusal["message"]
    b = hosts.nodes["b"]
    b.record.tunnel = TunnelEnd(public_key="key b", address="fd00::b", port=51878)
    await b.join()
    assert (await hosts.run("c1", HostConfig=asked["HostConfig"]))[1] == "b"
    [state] = b.networks.values()
    assert [node.tunnel for node in state.nodes] == [b.record.tunnel]
    # A new key is told to all that take part.
    b.record.tunnel = b.record.tunnel.model_copy(update={"public_key": "another"})
    [told] = (await b.join()).networks
    assert told.revision > state.revision
    assert told.nodes[0].tunnel == b.record.tunnel
    # Nobody can pass for another node.
    a = hosts.nodes["a"]
    a.record.tunnel = b.record.tunnel.model_copy(update={"public_key": "key a"})
    with pytest.raises(ConflictError, match="node b has this WireGuard key or address already"):
        await a.join()
