"""A real node without bus, network and image store: runc and conmon over a busybox folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flotilla_core.clock import now
from flotilla_core.ids import new_id
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.records import (
    ContainerRecord,
    ContainerSize,
    EndpointRecord,
    ImageRecord,
    NetworkState,
    TunnelEnd,
)
from flotilla_runtime_agent.containers.container import Container
from flotilla_runtime_agent.containers.containers import Containers
from flotilla_runtime_agent.containers.creation import Wanted
from flotilla_runtime_agent.containers.host import Host, Paths
from flotilla_runtime_agent.containers.store import Store
from flotilla_runtime_agent.ports import Attachment, Joining, Sandbox, Snapshot
from flotilla_runtime_agent.runtime.conmon import OciRuntime
from flotilla_runtime_agent.runtime.inotify import Inotify
from flotilla_runtime_agent.spec import cgroups
from flotilla_runtime_agent.volumes.local import LocalVolumes

_APPLETS = (
    "sh true false cat echo sleep env id seq head dd ls mkdir touch trap kill ps hostname "
    "printf yes wc test rm mount stat tail uname"
)
IMAGE = ImageRecord(id="sha256:" + "1" * 64, created=now())


class FolderSnapshots:
    """Snapshots that are plain folders with busybox in them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def fetch(self, image: ImageRecord) -> None:
        """Everything is here."""

    async def prepare(self, container_id: str, image: ImageRecord) -> Snapshot:
        root = self._root / container_id
        for folder in ("bin", "etc", "tmp", "proc", "sys", "dev", "root"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/busybox", root / "bin/busybox")
        for name in _APPLETS.split():
            (root / "bin" / name).symlink_to("busybox")
        (root / "etc/passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nsailor:x:1000:1001::/home/sailor:/bin/sh\n"
        )
        (root / "etc/group").write_text("root:x:0:\ncrew:x:1001:\ndeck:x:1002:sailor\n")
        (root / "etc/plain").write_text("not a program\n")
        return await self.get(container_id)

    async def get(self, container_id: str) -> Snapshot:
        root = self._root / container_id
        return Snapshot(root=root, upper=root, work=root, lower=())

    async def mount(self, container_id: str) -> Path:
        return self._root / container_id

    async def unmount(self, container_id: str) -> None:
        """Nothing is mounted."""

    async def remove(self, container_id: str) -> None:
        shutil.rmtree(self._root / container_id, ignore_errors=True)

    async def size(self, container_id: str) -> ContainerSize:
        return ContainerSize(rw_bytes=0, root_fs_bytes=0)

    async def mount_image(self, image: ImageRecord, target: Path) -> None:
        raise NotImplementedError

    async def release(self, keep: Sequence[ImageRecord]) -> int:
        return 0

    async def repair(self, container_ids: Sequence[str]) -> None:
        for root in self._root.iterdir() if self._root.exists() else ():
            if root.name not in container_ids:
                shutil.rmtree(root)


class NoNetworks:
    """Networks of a node whose containers all use the host's."""

    async def start(self, running: Sequence[tuple[Joining, Sandbox]]) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to close."""

    async def create_sandbox(self, container_id: str) -> Sandbox:
        raise NotImplementedError

    async def attach(self, joining: Joining, sandbox: Sandbox) -> Attachment:
        raise NotImplementedError

    async def connect(
        self, joining: Joining, sandbox: Sandbox, endpoint: EndpointRecord
    ) -> Attachment:
        raise NotImplementedError

    async def disconnect(self, joining: Joining, sandbox: Sandbox, network_id: str) -> Attachment:
        raise NotImplementedError

    async def detach(self, container_id: str) -> None:
        """Nothing is attached."""

    async def apply(self, state: NetworkState) -> None:
        """Nothing to apply."""

    async def remove_network(self, network_id: str) -> None:
        """Nothing to remove."""

    async def network_states(self) -> list[NetworkState]:
        return []

    def driver_of(self, _network_id: str) -> str:
        return "bridge"

    def address(self) -> str:
        return ""

    def encryption(self) -> tuple[TunnelEnd | None, str]:
        return None, "not here"


@dataclass
class Heard:
    """An outlet that remembers."""

    events: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    records: dict[str, ContainerRecord] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def changed(self, record: ContainerRecord) -> None:
        self.records[record.id] = record.model_copy(deep=True)

    def removed(self, container_id: str, revision: int, volumes: Sequence[str] = ()) -> None:
        self.gone.add(container_id)

    def event(self, kind: str, action: str, subject: str, attributes: Mapping[str, str]) -> None:
        if kind == "container":
            self.events.append((action, dict(attributes)))

    def actions(self) -> list[str]:
        return [action for action, _ in self.events]


@dataclass
class SmallNode:
    """A node under test."""

    host: Host
    containers: Containers
    heard: Heard

    async def create(
        self, *command: str, host: HostConfig | None = None, **config: object
    ) -> Container:
        container_id = new_id()
        host_config = host or HostConfig()
        host_config.network_mode = "host"
        return await self.containers.create(
            Wanted(
                id=container_id,
                name=f"test-{container_id[:8]}",
                image=IMAGE,
                image_reference="busybox",
                config=ContainerConfig.model_validate(
                    {"hostname": container_id[:12], "cmd": list(command), **config}
                ),
                host_config=host_config,
                endpoints=[],
                volumes=[],
                volumes_from=[],
                image_mounts={},
            )
        )

    async def run(
        self, *command: str, host: HostConfig | None = None, **config: object
    ) -> Container:
        container = await self.create(*command, host=host, **config)
        await container.start()
        return container

    async def finished(self, *command: str, **more: object) -> tuple[int, bytes]:
        """Run to the end; returns the exit code and the output."""
        container = await self.create(*command, **more)  # type: ignore[arg-type]
        output = container.broadcast.subscribe()
        ended = container.waits.exit()
        await container.start()
        data = b""
        while packets := await output.read():
            data += b"".join(part for _, part in packets)
        async with asyncio.timeout(30):
            code = (await ended).code
        return code, data


class NodeMaker:
    """Makes nodes over the same folders, one after the other, as restarts of an agent do."""

    def __init__(self, folder: Path, stack_name: str) -> None:
        self.folder = folder
        self._name = stack_name
        self._last: SmallNode | None = None

    async def start(self) -> SmallNode:
        """Start an agent; a former one is dropped as if it had been killed."""
        await self.drop()
        heard = Heard()
        run = self.folder / "run"
        host = Host(
            node_id="testnode",
            paths=Paths(self.folder / "data", run / "c"),
            cgroup_parent=f"/flotilla-test/{self._name}",
            runtimes={"runc": OciRuntime("runc", Path("/usr/sbin/runc"), run / "runc")},
            default_runtime="runc",
            store=Store(self.folder / "data/containers"),
            snapshots=FolderSnapshots(self.folder / "roots"),
            networks=NoNetworks(),
            volumes=LocalVolumes(self.folder / "data/volumes"),
            outlet=heard,
            inotify=Inotify(),
        )
        containers = Containers(host)
        await containers.adopt()
        self._last = SmallNode(host, containers, heard)
        return self._last

    async def drop(self) -> None:
        """Forget the agent; its containers go on."""
        if self._last is not None:
            await self._last.host.background.close()
            self._last.host.inotify.close()
            self._last = None


@pytest.fixture
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NodeMaker]:
    if os.geteuid() != 0 or shutil.which("conmon") is None:
        pytest.skip("needs root and conmon")
    maker = NodeMaker(tmp_path_factory.mktemp("node"), new_id()[:8])
    try:
        yield maker
    finally:
        node = await maker.start()
        for container in node.containers:
            await container.remove(force=True, volumes=True)
        await maker.drop()
        for folder in cgroups.folders(node.host.cgroup_parent):
            with contextlib.suppress(OSError):
                folder.rmdir()


@pytest.fixture
async def node(nodes: NodeMaker) -> SmallNode:
    return await nodes.start()
