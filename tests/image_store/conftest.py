"""A whole image store on a real nats-server and SQLite, and archives to load into it."""

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flotilla_bus import Bus, Service, connected
from flotilla_bus.contracts import images as contract
from flotilla_database import opened
from flotilla_engine.events import EventMessage
from flotilla_image_store.app import opened_images
from flotilla_image_store.handlers import Handlers
from flotilla_image_store.images import Images
from flotilla_testing.archives import Member, archive
from flotilla_testing.nats import nats_server


@dataclass
class KeptEvents:
    """Events as they were said."""

    said: list[EventMessage] = field(default_factory=list)

    def publish(self, event: EventMessage) -> None:
        self.said.append(event)

    def actions(self) -> list[str]:
        return [event.action for event in self.said]


@dataclass
class Store:
    """The store as its callers see it."""

    bus: Bus
    images: Images
    events: KeptEvents
    folder: Path

    async def load(self, data: bytes) -> list[dict[str, Any]]:
        """Load an archive and return the lines that come back."""
        _, stream = await self.bus.open(contract.LOAD, contract.LoadRequest(quiet=True))
        async with stream:
            await stream.write(data)
            await stream.write_eof()
            output = b""
            while chunk := await stream.read():
                output += chunk
        return [json.loads(line) for line in output.splitlines()]

    async def save(self, *names: str) -> bytes:
        """Return an archive."""
        _, stream = await self.bus.open(contract.SAVE, contract.SaveRequest(references=[*names]))
        async with stream:
            output = b""
            while chunk := await stream.read():
                output += chunk
        return output

    def blob_count(self) -> int:
        """Return how many blobs are on disk."""
        return sum(path.is_file() for path in (self.folder / "blobs").rglob("*"))

    async def names(self) -> list[str]:
        """Return all tags."""
        answer = await self.bus.call(contract.LIST, contract.ListRequest(all=True))
        return sorted(tag for one in answer.images for tag in one.image.repo_tags)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    folder = tmp_path / "store"
    events = KeptEvents()
    async with (
        nats_server(tmp_path / "nats") as nats,
        opened(f"sqlite:///{tmp_path}/images.db") as database,
        connected(nats.url, name="image-store", patience_s=30) as serving,
        connected(nats.url, name="gateway", patience_s=30) as bus,
        Service(serving, name="image-store") as service,
    ):
        images = await opened_images(folder, database, events)
        Handlers(images).register(service)
        await service.ready()
        yield Store(bus, images, events, folder)


def layer(name: str, content: bytes = b"content") -> bytes:
    """Return a plain layer with one file."""
    return archive(Member(name, content))


def docker_archive(
    names: list[str], layers: list[bytes], config: dict[str, Any] | None = None
) -> bytes:
    """Return what `docker save` of old wrote: manifest.json, a config and layer.tar files."""
    diff_ids = ["sha256:" + hashlib.sha256(one).hexdigest() for one in layers]
    document = {
        "os": "linux",
        "architecture": "amd64",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Labels": {"made": "here"}} | (config or {}),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [
            {"created": "2024-01-01T00:00:00Z", "created_by": f"step {position}"}
            for position in range(len(layers))
        ],
    }
    raw = json.dumps(document).encode()
    image = hashlib.sha256(raw).hexdigest()
    paths = [f"{position}/layer.tar" for position in range(len(layers))]
    listing = [{"Config": f"{image}.json", "RepoTags": names or None, "Layers": paths}]
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for path, data in [
            *zip(paths, layers, strict=True),
            (f"{image}.json", raw),
            ("manifest.json", json.dumps(listing).encode()),
        ]:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return output.getvalue()
