"""A registry proxy and an image store on a real nats-server, and real registries around them."""

import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flotilla_bus import Bus, Service, connected
from flotilla_bus.contracts import images as store_contract
from flotilla_bus.contracts import registry as contract
from flotilla_database import opened
from flotilla_engine.events import EventMessage
from flotilla_image_store.app import opened_images
from flotilla_image_store.distribution import Distribution
from flotilla_image_store.handlers import Handlers as StoreHandlers
from flotilla_oci import manifests, references
from flotilla_oci.digests import digest_of
from flotilla_oci.manifests import Descriptor, Index, Manifest
from flotilla_oci.platforms import Platform
from flotilla_oci.references import Reference
from flotilla_oci.registry.client import reached
from flotilla_oci.registry.hosts import RegistryHosts
from flotilla_oci.registry.tokens import Login
from flotilla_registry_proxy.handlers import Handlers
from flotilla_registry_proxy.image_store import ImageStore
from flotilla_registry_proxy.pull import Means
from flotilla_registry_proxy.transfers import Transfers
from flotilla_server.http import Listener, serving
from flotilla_testing.archives import Member, archive
from flotilla_testing.nats import nats_server
from flotilla_testing.registries import Registry, running_registry


@dataclass
class KeptEvents:
    """Events as they were said."""

    said: list[EventMessage] = field(default_factory=list)

    def publish(self, event: EventMessage) -> None:
        self.said.append(event)


@dataclass
class Proxy:
    """The registry proxy as the gateway sees it."""

    bus: Bus
    events: KeptEvents
    hosts: RegistryHosts

    async def pull(self, reference: str, **more: Any) -> list[dict[str, Any]]:
        """Pull and return the lines that come back."""
        normal = str(references.parse(reference))
        request = contract.PullRequest(reference=normal, **more)
        _, stream = await self.bus.open(contract.PULL, request)
        async with stream:
            output = b""
            while chunk := await stream.read():
                output += chunk
        return [json.loads(line) for line in output.splitlines()]

    async def push(self, reference: str, **more: Any) -> list[dict[str, Any]]:
        """Push and return the lines that come back."""
        normal = str(references.parse(reference))
        request = contract.PushRequest(reference=normal, **more)
        _, stream = await self.bus.open(contract.PUSH, request)
        async with stream:
            output = b""
            while chunk := await stream.read():
                output += chunk
        return [json.loads(line) for line in output.splitlines()]

    async def tag(self, source: str, target: str) -> None:
        """Give an image of the store one more name."""
        request = store_contract.TagRequest(source=source, target=target)
        await self.bus.call(store_contract.TAG, request)

    async def remove(self, reference: str) -> None:
        """Remove an image from the store."""
        request = store_contract.RemoveRequest(reference=reference, force=True)
        await self.bus.call(store_contract.REMOVE, request)

    async def images(self) -> dict[str, list[str]]:
        """Return the digests of each image of the store, by its tags."""
        answer = await self.bus.call(store_contract.LIST, store_contract.ListRequest(all=True))
        return {
            " ".join(one.image.repo_tags): sorted(one.image.repo_digests) for one in answer.images
        }


@pytest.fixture
def hosts(tmp_path: Path) -> RegistryHosts:
    return RegistryHosts(certificates=str(tmp_path / "none"))


@pytest.fixture
async def proxy(tmp_path: Path, hosts: RegistryHosts) -> AsyncIterator[Proxy]:
    secret = tmp_path / "secret"
    secret.write_text("sesame")
    events = KeptEvents()
    transfers = Transfers()
    async with (
        nats_server(tmp_path / "nats") as nats,
        opened(f"sqlite:///{tmp_path}/images.db") as database,
        connected(nats.url, name="image-store", patience_s=30) as store_bus,
        connected(nats.url, name="registry-proxy", patience_s=30) as proxy_bus,
        connected(nats.url, name="gateway", patience_s=30) as bus,
        Service(store_bus, name="image-store") as store_service,
        Service(proxy_bus, name="registry-proxy") as proxy_service,
    ):
        images = await opened_images(tmp_path / "store", database, KeptEvents())
        StoreHandlers(images).register(store_service)
        application = Distribution(images).application(secret)
        async with serving(application, [Listener("tcp://127.0.0.1:0")]) as server:
            url = server.addresses[0].replace("tcp://", "http://")
            async with ImageStore(proxy_bus, url, secret, None) as store:
                means = Means(store, hosts, transfers, 3)
                Handlers(means, events, parallel_uploads=3).register(proxy_service)
                await store_service.ready()
                await proxy_service.ready()
                yield Proxy(bus, events, hosts)
                await transfers.close()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def private_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("private-registry")
    with running_registry(folder, basic_auth=True) as running:
        yield running


@dataclass(frozen=True)
class Made:
    """An image made for a registry."""

    manifest: bytes
    blobs: dict[str, bytes]

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def made(*contents: bytes, architecture: str = "amd64") -> Made:
    """Make an image with one layer for each content."""
    blobs: dict[str, bytes] = {}
    layers, diff_ids = [], []
    for position, content in enumerate(contents):
        plain = archive(Member(f"file{position}", content))
        packed = gzip.compress(plain, mtime=0)
        blobs[digest_of(packed)] = packed
        diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
        layers.append(Descriptor(manifests.OCI_LAYER_GZIP, digest_of(packed), len(packed)))
    config = json.dumps(
        {
            "os": "linux",
            "architecture": architecture,
            "config": {"Labels": {"made": "here"}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    ).encode()
    blobs[digest_of(config)] = config
    described = Descriptor(manifests.OCI_CONFIG, digest_of(config), len(config))
    manifest = Manifest(manifests.OCI_MANIFEST, described, tuple(layers))
    return Made(manifest.to_bytes(), blobs)


async def put(
    hosts: RegistryHosts, reference: str, *images: Made, login: Login | None = None
) -> str:
    """Bring an image, or an index of several, into a registry; returns the digest of the top."""
    name = references.parse(reference)
    endpoints = hosts.endpoints(name.domain, with_mirrors=False)
    async with reached(endpoints, login or Login()) as client:

        async def chunks(data: bytes) -> AsyncIterator[bytes]:
            yield data

        for image in images:
            for digest, data in image.blobs.items():
                if not await client.has_blob(name, digest):
                    await client.upload(name, digest, len(data), chunks(data))
        if len(images) == 1:
            return await client.put_manifest(name, images[0].manifest, manifests.OCI_MANIFEST)
        for image in images:
            by_digest = Reference(name.domain, name.path, digest=image.digest)
            await client.put_manifest(by_digest, image.manifest, manifests.OCI_MANIFEST)
        index = _index(images)
        return await client.put_manifest(name, index, manifests.OCI_INDEX)


def _index(images: tuple[Made, ...]) -> bytes:
    entries = []
    for image in images:
        parsed = manifests.parse(image.manifest)
        assert isinstance(parsed, Manifest)
        config = json.loads(image.blobs[parsed.config.digest])
        platform = Platform("linux", config["architecture"])
        entries.append(
            Descriptor(manifests.OCI_MANIFEST, image.digest, len(image.manifest), platform)
        )
    index = Index(manifests.OCI_INDEX, tuple(entries))
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": index.media_type,
            "manifests": [entry.to_json() for entry in index.manifests],
        }
    ).encode()
