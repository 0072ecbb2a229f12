"""What a build does with containers: run a command, copy files in and out, commit."""

import asyncio
import posixpath
import tarfile
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO

from flotilla_bus import Bus
from flotilla_bus.contracts import agent
from flotilla_bus.contracts import images as store
from flotilla_core.errors import FlotillaError, NotFoundError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.networking import NetworkingConfig
from flotilla_engine.records import ImageRecord
from flotilla_engine.stdcopy import Demultiplexer
from flotilla_gateway.domain.drafts import CreateRequest
from flotilla_gateway.domain.fleet import Fleet
from flotilla_gateway.domain.views import View

_TIMEOUT_S = 120
_CHUNK_BYTES = 1 << 20
_IS_DIRECTORY = 1 << 31  # of Go's os.FileMode
_EMPTY_LAYER = bytes(10240)


@dataclass(frozen=True)
class Working:
    """A container that a build works in."""

    id: str
    node_id: str


class BuildContainers:
    """Makes and uses a build's containers, all on one node if that is possible."""

    def __init__(self, fleet: Fleet, bus: Bus, view: View, host_config: HostConfig) -> None:
        """Work in the fleet; commands run with this configuration."""
        self._fleet = fleet
        self._bus = bus
        self._view = view
        self._host_config = host_config
        self.intermediate: list[str] = []

    async def create(self, image_id: str, config: ContainerConfig, platform: str = "") -> Working:
        """Make a container."""
        request = CreateRequest(
            name="",
            config=config.model_copy(update={"image": image_id}),
            host_config=self._host_config.model_copy(deep=True),
            networking=NetworkingConfig(),
            platform=platform,
            view=self._view,
        )
        container_id, _ = await self._fleet.creation.create(request)
        self.intermediate.append(container_id)
        located = await self._fleet.locator.container(container_id)
        self._view = View(located.node_id)  # its layers are there: the next steps are, too
        return Working(container_id, located.node_id)

    async def run(self, working: Working) -> AsyncIterator[bytes | int]:
        """Start a container; yield its output as it comes, and at the end its exit code."""
        attach = agent.AttachRequest(
            container=working.id, stream=True, stdout=True, stderr=True, mux=True
        )
        _, output = await self._bus.open(agent.ATTACH, attach, node=working.node_id)
        async with output:
            await self._fleet.containers.start(working.id)
            parts = Demultiplexer()
            while data := await output.read():
                for _, payload in parts.feed(data):
                    yield payload
        wait = agent.WaitRequest(container=working.id)
        _, ending = await self._bus.open(agent.WAIT, wait, node=working.node_id)
        async with ending:
            document = b""
            while data := await ending.read():
                document += data
        yield agent.WaitOutcome.model_validate_json(document).status_code

    async def put(self, working: Working, archive: IO[bytes]) -> None:
        """Unpack an archive into a container's root."""
        request = agent.ArchivePutRequest(container=working.id, path="/")
        _, stream = await self._bus.open(
            agent.ARCHIVE_PUT, request, node=working.node_id, timeout_s=_TIMEOUT_S
        )
        async with stream:
            while chunk := await asyncio.to_thread(archive.read, _CHUNK_BYTES):
                await stream.write(chunk)
            await stream.write_eof()
            while await stream.read():
                pass

    async def get(self, working: Working, path: str) -> IO[bytes]:
        """Return a file with an archive of a container's path, named by the path's last part.

        Raises:
            NotFoundError: If there is none.
        """
        request = agent.ArchiveRequest(container=working.id, path=path)
        _, stream = await self._bus.open(
            agent.ARCHIVE_GET, request, node=working.node_id, timeout_s=_TIMEOUT_S
        )
        async with stream:
            content = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever it is given to
            while data := await stream.read():
                await asyncio.to_thread(content.write, data)
        content.seek(0)
        return content

    async def is_folder(self, working: Working, path: str) -> bool:
        """Tell whether there is a folder at a path."""
        request = agent.ArchiveRequest(container=working.id, path=path)
        try:
            answer = await self._bus.call(agent.ARCHIVE_STAT, request, node=working.node_id)
        except NotFoundError:
            return False
        return bool(answer.mode & _IS_DIRECTORY)

    async def numbers(self, working: Working, names: str) -> tuple[int, int]:
        """Return user and group ids for `user[:group]`, looked up in the container.

        Raises:
            NotFoundError: If it has no such user or group.
        """
        user, _, group = names.partition(":")
        uid = await self._number(working, "/etc/passwd", user)
        return uid, await self._number(working, "/etc/group", group) if group else uid

    async def _number(self, working: Working, path: str, name: str) -> int:
        if name.isdecimal():
            return int(name)
        with await self.get(working, path) as archive, tarfile.open(fileobj=archive) as tar:
            file = tar.extractfile(posixpath.basename(path))
            lines = file.read().decode("utf-8", "replace").splitlines() if file else []
        for line in lines:
            fields = line.split(":")
            if fields[0] == name and len(fields) > 2 and fields[2].isdecimal():
                return int(fields[2])
        raise NotFoundError(f"unable to find user or group {name}: no such entry in {path}")

    async def commit(
        self, base: str, config: ContainerConfig, created_by: str, working: Working | None = None
    ) -> ImageRecord:
        """Make an image of a container's changes, or one whose configuration alone is new."""
        request = store.CommitRequest(base=base, config=config, created_by=created_by)
        _, stream = await self._bus.open(store.COMMIT, request, timeout_s=_TIMEOUT_S)
        async with stream:
            if working is None:
                await stream.write(_EMPTY_LAYER)
            else:
                order = agent.CommitRequest(container=working.id)
                _, layer = await self._bus.open(
                    agent.COMMIT, order, node=working.node_id, timeout_s=_TIMEOUT_S
                )
                async with layer:
                    while data := await layer.read():
                        await stream.write(data)
            await stream.write_eof()
            answer = b""
            while data := await stream.read():
                answer += data
        return store.ImageAnswer.model_validate_json(answer).image

    async def remove(self, container_id: str) -> None:
        """Remove a container, whatever state it is in."""
        self.intermediate.remove(container_id)
        try:
            await self._fleet.containers.remove(container_id, force=True, volumes=True)
        except FlotillaError:
            return  # it is gone, or its node is; the build's outcome does not hang on it
