"""Pulls and pushes against real registries, told in dockerd's words."""

import asyncio
import logging
import os
from typing import Any

import pytest
from pydantic import SecretStr

from flotilla_bus.contracts import registry as contract
from flotilla_core.errors import FlotillaError, Kind
from flotilla_oci.registry.hosts import RegistryHosts
from flotilla_oci.registry.tokens import Login
from flotilla_testing.registries import PASSWORD, USER, Registry

from .conftest import Proxy, made, put

RIGHT = contract.Credentials(username=USER, password=SecretStr(PASSWORD))
WRONG = contract.Credentials(username=USER, password=SecretStr("wrong-password"))


def texts(lines: list[dict[str, Any]]) -> list[str]:
    """Return what a client without a terminal shows."""
    return [
        f"{line['id']}: {line['status']}" if "id" in line else line["status"]
        for line in lines
        if "status" in line and not line.get("progressDetail")
    ]


async def test_a_pull_is_told_as_dockerd_tells_it(proxy: Proxy, registry: Registry) -> None:
    name = f"{registry.address}/told:1"
    digest = await put(proxy.hosts, name, made(b"one", os.urandom(300_000)))
    lines = await proxy.pull(name)
    shown = texts(lines)
    assert shown[0] == "1: Pulling from told"
    assert [line.split(": ")[1] for line in shown[1:3]] == ["Pulling fs layer"] * 2
    assert sum(line.endswith(": Download complete") for line in shown) == 2
    complete = [line.split(":")[0] for line in shown if line.endswith(": Pull complete")]
    assert complete == [line.split(":")[0] for line in shown[1:3]]
    assert shown[-2:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}"]
    assert await proxy.images() == {name: [f"{registry.address}/told@{digest}"]}
    assert texts(await proxy.pull(name)) == [
        "1: Pulling from told",
        f"Digest: {digest}",
        f"Status: Image is up to date for {name}",
    ]
    event = proxy.events.said[0]
    assert (event.action, event.actor.id) == ("pull", name)
    assert event.actor.attributes == {"made": "here", "name": f"{registry.address}/told"}


async def test_layers_that_are_here_are_not_fetched(proxy: Proxy, registry: Registry) -> None:
    shared = os.urandom(1000)
    await put(proxy.hosts, f"{registry.address}/shared:1", made(shared))
    await put(proxy.hosts, f"{registry.address}/shared:2", made(shared, b"more"))
    await proxy.pull(f"{registry.address}/shared:1")
    shown = texts(await proxy.pull(f"{registry.address}/shared:2"))
    assert [line.split(": ")[1] for line in shown[1:3]] == ["Already exists", "Pulling fs layer"]


async def test_all_tags_and_digests_can_be_pulled(proxy: Proxy, registry: Registry) -> None:
    name = f"{registry.address}/many"
    first = await put(proxy.hosts, f"{name}:1", made(b"first"))
    await put(proxy.hosts, f"{name}:2", made(b"second"))
    shown = texts(await proxy.pull(name, all_tags=True))
    assert shown[-1] == f"Status: Downloaded newer image for {name}"
    assert sorted(await proxy.images()) == [f"{name}:1", f"{name}:2"]
    await proxy.remove(f"{name}:1")
    shown = texts(await proxy.pull(f"{name}@{first}"))
    assert shown[0] == f"{first}: Pulling from many"
    assert (await proxy.images())[""] == [f"{name}@{first}"]


async def test_an_index_gives_the_image_of_the_platform(proxy: Proxy, registry: Registry) -> None:
    name = f"{registry.address}/multi:1"
    images = made(b"amd", architecture="amd64"), made(b"arm", architecture="arm64")
    index = await put(proxy.hosts, name, *images)
    await proxy.pull(name, platform="linux/arm64")
    assert await proxy.images() == {name: [f"{registry.address}/multi@{index}"]}
    lines = await proxy.pull(name, platform="linux/s390x")
    assert lines[-1]["error"] == (
        "no matching manifest for linux/s390x in the manifest list entries"
    )
    single = f"{registry.address}/single:1"
    await put(proxy.hosts, single, images[0])
    lines = await proxy.pull(single, platform="linux/arm64")
    assert "does not match the specified platform" in lines[-1]["error"]


@pytest.mark.parametrize(
    ("reference", "kind", "text"),
    [
        (
            "{registry}/told:none",
            Kind.NOT_FOUND,
            "manifest for {registry}/told:none not found: manifest unknown: manifest unknown",
        ),
        (
            "{registry}/none:1",
            Kind.NOT_FOUND,
            "manifest for {registry}/none:1 not found: manifest unknown: manifest unknown",
        ),
        (
            "127.0.0.1:1/x:1",
            Kind.INTERNAL,
            'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
        ),
        (
            "host.invalid/x:1",
            Kind.INTERNAL,
            'Get "https://host.invalid/v2/": dial tcp: lookup host.invalid: no such host',
        ),
    ],
)
async def test_what_cannot_be_pulled_is_refused_in_dockerds_words(
    proxy: Proxy, registry: Registry, reference: str, kind: Kind, text: str
) -> None:
    with pytest.raises(FlotillaError) as problem:
        await proxy.pull(reference.format(registry=registry.address))
    assert problem.value.message == text.format(registry=registry.address)
    assert problem.value.kind is kind


async def test_a_private_registry_wants_a_login(
    proxy: Proxy, private_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    name = f"{private_registry.address}/private:1"
    await put(proxy.hosts, name, made(b"secret"), login=Login(USER, PASSWORD))
    with pytest.raises(FlotillaError, match="no basic auth credentials"):
        await proxy.pull(name)
    with pytest.raises(FlotillaError, match="unauthorized: authentication required"):
        await proxy.pull(name, credentials=WRONG)
    lines = await proxy.pull(name, credentials=RIGHT)
    assert texts(lines)[-1] == f"Status: Downloaded newer image for {name}"
    assert WRONG.password.get_secret_value() not in caplog.text

    async def login(credentials: contract.Credentials) -> contract.AuthAnswer:
        server = credentials.model_copy(update={"server_address": private_registry.address})
        return await proxy.bus.call(contract.AUTH, contract.AuthRequest(credentials=server))

    assert (await login(RIGHT)).status == "Login Succeeded"
    with pytest.raises(FlotillaError, match="401 Unauthorized") as problem:
        await login(WRONG)
    assert problem.value.kind is Kind.UNAUTHENTICATED


async def test_what_was_pushed_can_be_pulled(proxy: Proxy, registry: Registry) -> None:
    source, target = f"{registry.address}/source:1", f"{registry.address}/target:1"
    digest = await put(proxy.hosts, source, made(b"one", b"two"))
    await proxy.pull(source)
    await proxy.tag(source, target)
    lines = await proxy.push(target)
    shown = texts(lines)
    assert shown[0] == f"The push refers to repository [{registry.address}/target]"
    assert sum(line.endswith(": Preparing") for line in shown) == 2
    assert sum(line.endswith(": Pushed") for line in shown) == 2
    assert shown[-1].startswith(f"1: digest: {digest} size: ")
    assert lines[-1]["aux"]["Digest"] == digest
    again = texts(await proxy.push(f"{registry.address}/target"))
    assert sum(line.endswith(": Layer already exists") for line in again) == 2
    assert (await proxy.images())[f"{source} {target}"] == [
        f"{registry.address}/source@{digest}",
        f"{registry.address}/target@{digest}",
    ]
    await proxy.remove(source)
    await proxy.remove(target)
    assert texts(await proxy.pull(target))[-2] == f"Digest: {digest}"
    assert [event.action for event in proxy.events.said] == ["pull", "push", "push", "pull"]


async def test_what_cannot_be_pushed_is_told(
    proxy: Proxy, registry: Registry, private_registry: Registry
) -> None:
    name = f"{registry.address}/nothing:1"
    lines = await proxy.push(name)
    assert lines[-1]["error"] == (
        f"An image does not exist locally with the tag: {registry.address}/nothing"
    )
    await put(proxy.hosts, name, made(b"x"))
    await proxy.pull(name)
    lines = await proxy.push(f"{registry.address}/nothing:2")
    assert lines[-1]["error"] == f"tag does not exist: {registry.address}/nothing:2"
    target = f"{private_registry.address}/nothing:1"
    await proxy.tag(name, target)
    lines = await proxy.push(target)
    assert lines[-1]["error"] == "no basic auth credentials"
    assert "error" not in (await proxy.push(target, credentials=RIGHT))[-1]


async def test_equal_pulls_at_once_all_succeed(proxy: Proxy, registry: Registry) -> None:
    name = f"{registry.address}/crowd:1"
    digest = await put(proxy.hosts, name, made(os.urandom(2 << 20), os.urandom(1 << 20)))
    pulls = await asyncio.gather(*(proxy.pull(name) for _ in range(6)))
    for lines in pulls:
        assert texts(lines)[-2] == f"Digest: {digest}"


async def test_a_registry_is_inspected(proxy: Proxy, registry: Registry) -> None:
    name = f"{registry.address}/seen:1"
    images = made(b"amd", architecture="amd64"), made(b"arm", architecture="arm64")
    digest = await put(proxy.hosts, name, *images)
    request = contract.DistributionRequest(reference=name)
    answer = await proxy.bus.call(contract.DISTRIBUTION, request)
    assert answer.descriptor["digest"] == digest
    assert [one["architecture"] for one in answer.platforms] == ["amd64", "arm64"]


class TestMirrors:
    """Docker Hub's images come from a mirror, if that has them."""

    @pytest.fixture
    def hosts(self, registry: Registry) -> RegistryHosts:
        return RegistryHosts(mirrors=(f"http://{registry.address}",))

    async def test_a_mirror_gives_docker_hubs_images(
        self, proxy: Proxy, registry: Registry
    ) -> None:
        digest = await put(RegistryHosts(), f"{registry.address}/library/mirrored:1", made(b"m"))
        lines = await proxy.pull("mirrored:1")
        assert texts(lines)[0] == "1: Pulling from library/mirrored"
        assert await proxy.images() == {"mirrored:1": [f"mirrored@{digest}"]}
