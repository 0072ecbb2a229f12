"""Handlers of what is in containers and volumes: processes, statistics, files, layers."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flotilla_bus import Accept, Empty, Service
from flotilla_bus.contracts import agent
from flotilla_core.errors import FlotillaError, InternalError
from flotilla_oci.diff import write_layer
from flotilla_runtime_agent.archive import files
from flotilla_runtime_agent.archive.changes import changes
from flotilla_runtime_agent.archive.pipes import chunks, opened_pipe
from flotilla_runtime_agent.archive.view import FileView, ViewMount
from flotilla_runtime_agent.containers.container import Container
from flotilla_runtime_agent.containers.containers import Containers
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.sources import image_mount_folder, path_in_volume
from flotilla_runtime_agent.containers.states import is_restarting, not_running
from flotilla_runtime_agent.runtime import cgroup
from flotilla_runtime_agent.spec import users
from flotilla_runtime_agent.stats import top
from flotilla_runtime_agent.stats.samples import Measured, send_stats
from flotilla_runtime_agent.volumes.local import passing_user
from flotilla_runtime_agent.volumes.transfer import receive_content, send_content


class Content:
    """Handlers that look into containers and volumes."""

    def __init__(self, host: Host, containers: Containers) -> None:
        """Serve these containers."""
        self._host = host
        self._containers = containers

    def register(self, service: Service) -> None:
        """Serve."""
        service.handle(agent.TOP, self.top)
        service.handle(agent.CHANGES, self.changes)
        service.handle_stream(agent.STATS, self.stats)
        service.handle_stream(agent.EXPORT, self.export)
        service.handle_stream(agent.COMMIT, self.commit)
        service.handle(agent.ARCHIVE_STAT, self.archive_stat)
        service.handle_stream(agent.ARCHIVE_GET, self.archive_get)
        service.handle_stream(agent.ARCHIVE_PUT, self.archive_put)
        service.handle_stream(agent.VOLUME_EXPORT, self.volume_export)
        service.handle_stream(agent.VOLUME_IMPORT, self.volume_import)

    async def top(self, request: agent.TopRequest) -> agent.TopAnswer:
        """``container.top``."""
        container = self._containers.get(request.container)
        if not container.record.state.running:
            raise not_running(container.id)
        if container.record.state.restarting:
            raise is_restarting(container.id)
        answer = await top.processes(cgroup.processes(container.cgroup), request.ps_args)
        container.event("top")
        return answer

    async def changes(self, request: agent.ContainerRequest) -> agent.ChangesAnswer:
        """``container.changes``."""
        snapshot = await self._host.snapshots.get(self._containers.get(request.container).id)
        found = await asyncio.to_thread(changes, snapshot.upper, snapshot.lower)
        return agent.ChangesAnswer(changes=found)

    async def stats(self, request: agent.StatsRequest, accept: Accept[Empty]) -> None:
        """``container.stats``."""
        container = self._containers.get(request.container)
        stream = await accept(Empty())

        def now() -> Measured | None:
            if container.is_gone:
                return None
            process = container.process
            return Measured(
                container.id,
                container.record.name,
                container.cgroup,
                process.pid if process else None,
                has_own_network=container.record.host_config.network_mode != "host",
            )

        await send_stats(now, stream, follow=request.stream, one_shot=request.one_shot)

    async def export(self, request: agent.ContainerRequest, accept: Accept[Empty]) -> None:
        """``container.export``."""
        container = self._containers.get(request.container)
        async with self._view(container, with_mounts=False) as view:
            stream = await accept(Empty())
            await files.send_all(view, stream)
        container.event("export")

    async def commit(
        self, request: agent.CommitRequest, accept: Accept[agent.CommitAnswer]
    ) -> None:
        """``container.commit``."""
        container = self._containers.get(request.container)
        snapshot = await self._host.snapshots.get(container.id)
        state = container.record.state
        is_frozen = request.pause and container.is_live and not state.paused
        if is_frozen:
            await container.pause()
        try:
            answer = agent.CommitAnswer(record=container.record, image=container.stored.image)
            stream = await accept(answer)
            reading, writing = opened_pipe()

            def pack() -> None:
                with os.fdopen(writing, "wb", closefd=True) as output:
                    write_layer(snapshot.upper, output)

            packing = asyncio.ensure_future(asyncio.to_thread(pack))
            try:
                async for data in chunks(reading):
                    await stream.write(data)
            finally:
                os.close(reading)
                await asyncio.gather(packing, return_exceptions=True)
            await packing
        finally:
            if is_frozen:
                await container.unpause()

    # -- archives -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _view(self, container: Container, *, with_mounts: bool) -> AsyncIterator[FileView]:
        """Give the container's files; one that does not run is mounted for the time."""
        read_only = with_mounts and container.record.host_config.readonly_rootfs
        if container.process is not None:
            root = await self._host.snapshots.mount(container.id)
            mounts = await self._view_mounts(container) if with_mounts else []
            yield FileView(root, mounts, read_only)
            return
        async with container.lock:
            was_live = container.is_live
            root = await self._host.snapshots.mount(container.id)
            try:
                mounts = await self._view_mounts(container) if with_mounts else []
                yield FileView(root, mounts, read_only)
            finally:
                if not was_live:
                    await self._unmount(container, with_mounts=with_mounts)

    async def _view_mounts(self, container: Container) -> list[ViewMount]:
        """Return what users mounted, and the files of the network."""
        record, found = container.record, []
        files = ("hostname", record.hostname_path), ("hosts", record.hosts_path)
        for name, path in (*files, ("resolv.conf", record.resolv_conf_path)):
            if path:
                found.append(ViewMount(path, f"/etc/{name}"))
        for mount in container.stored.mounts:
            match mount.type:
                case "bind":
                    source = mount.source
                case "volume":
                    mounted = await self._host.volumes.mount(mount.name, container.id)
                    source = path_in_volume(mounted.path, mount.subpath)
                case "image" if container.is_live:
                    folder = self._host.store.folder(container.id)
                    source = path_in_volume(image_mount_folder(folder, mount), mount.subpath)
                case _:
                    continue
            found.append(ViewMount(source, mount.destination, read_only=not mount.rw))
        return found

    async def _unmount(self, container: Container, *, with_mounts: bool) -> None:
        for mount in container.stored.mounts:
            if mount.type == "volume" and with_mounts:
                await self._host.volumes.unmount(mount.name, container.id)
        await self._host.snapshots.unmount(container.id)

    async def archive_stat(self, request: agent.ArchiveRequest) -> agent.PathStat:
        """``archive.stat``."""
        container = self._containers.get(request.container)
        async with self._view(container, with_mounts=True) as view:
            return await files.stat_path(view, request.path, _told(request, container))

    async def archive_get(
        self, request: agent.ArchiveRequest, accept: Accept[agent.PathStat]
    ) -> None:
        """``archive.get``."""
        container = self._containers.get(request.container)
        name = _told(request, container)
        async with self._view(container, with_mounts=True) as view:
            stream = await accept(await files.stat_path(view, request.path, name))
            await files.send_path(view, request.path, name, stream)
        container.event("archive-path")

    async def archive_put(self, request: agent.ArchivePutRequest, accept: Accept[Empty]) -> None:
        """``archive.put``."""
        container = self._containers.get(request.container)
        async with self._view(container, with_mounts=True) as view:
            user = container.record.config.user
            owner = None
            if request.copy_uid_gid and user:
                found = users.look_up(view.root, user)
                owner = (found.uid, found.gid)
            stream = await accept(Empty())
            await files.receive_path(
                view,
                request.path,
                _told(request, container),
                stream,
                no_overwrite_dir_non_dir=request.no_overwrite_dir_non_dir,
                owner=owner,
            )
        container.event("extract-to-dir")

    # -- volumes ------------------------------------------------------------------------------

    async def volume_export(
        self, request: agent.VolumeRequest, accept: Accept[agent.VolumeAnswer]
    ) -> None:
        """``volume.export``."""
        user = passing_user()
        mounted = await self._host.volumes.mount(request.name, user)
        try:
            root = mounted.path.stat()
            answer = agent.VolumeAnswer(
                volume=mounted.record,
                uid=root.st_uid,
                gid=root.st_gid,
                mode=stat.S_IMODE(root.st_mode),
            )
            stream = await accept(answer)
            await send_content(mounted.path, stream)
        finally:
            await self._host.volumes.unmount(request.name, user)

    async def volume_import(self, request: agent.VolumeAnswer, accept: Accept[Empty]) -> None:
        """``volume.import``: the volume appears as a whole, in the place of one that is there."""
        name = request.volume.name
        try:
            async with self._host.volumes.importing(request.volume) as folder:
                stream = await accept(Empty())
                await receive_content(folder, stream)
                os.chown(folder, request.uid, request.gid)
                folder.chmod(request.mode)
        except FlotillaError:
            raise
        except OSError as error:
            raise InternalError(f"volume {name} cannot be filled: {error}") from error


def _told(request: agent.ArchiveRequest, container: Container) -> str:
    """Return what errors call the container: what the client did."""
    return request.reference or container.record.name
