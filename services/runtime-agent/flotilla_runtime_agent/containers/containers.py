"""All containers of this node: made, found, and found again when the agent starts."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from flotilla_core.clock import now
from flotilla_core.errors import ConflictError, FlotillaError, InternalError, NotFoundError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.networking import EndpointSettings
from flotilla_engine.records import (
    ContainerChange,
    ContainerRecord,
    EndpointRecord,
    ImageRecord,
    VolumeRecord,
)
from flotilla_engine.state import ContainerState
from flotilla_runtime_agent.containers import launch, mount_plan, restarts
from flotilla_runtime_agent.containers.container import Container
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.store import Stored
from flotilla_runtime_agent.logs import drivers
from flotilla_runtime_agent.logs.shipping.drivers import check_shipping
from flotilla_runtime_agent.ports import Joining, Sandbox
from flotilla_runtime_agent.runtime import conmon, oci
from flotilla_runtime_agent.runtime.processes import ProcessRef
from flotilla_runtime_agent.spec import capabilities, devices
from flotilla_runtime_agent.spec.build import apparmor_profile, check_security_options
from flotilla_runtime_agent.spec.mounts import PlannedMount

_LOG = logging.getLogger(__name__)
_LOST_EXIT_CODE = 137
_RESTARTS_AT_ONCE = 4


class Containers:
    """The containers by id."""

    def __init__(self, host: Host) -> None:
        """Know none yet; ``adopt`` reads the disk."""
        self._host = host
        self._containers: dict[str, Container] = {}
        self._creating: set[str] = set()

    def __iter__(self) -> Iterator[Container]:
        """Go over all containers."""
        return iter(list(self._containers.values()))

    def get(self, container_id: str) -> Container:
        """Return a container. Raises: NotFoundError with dockerd's text."""
        found = self._containers.get(container_id)
        if found is None or found.is_gone:
            raise NotFoundError(f"No such container: {container_id}")
        return found

    def find(self, reference: str) -> Container:
        """Return a container by id or name. Raises: NotFoundError."""
        name = reference.removeprefix("/")
        for container in self._containers.values():
            if reference == container.id or name == container.record.name:
                return container
        return self.get(reference)

    def inventory(self) -> list[ContainerChange]:
        """Return all containers as they are."""
        return [
            ContainerChange(id=item.id, revision=item.record.revision, record=item.record)
            for item in self
        ]

    def _peer(self, reference: str) -> launch.Peer:
        peer = self.find(reference)
        process = peer.process
        if process is None:
            raise ConflictError(f"cannot join network of a non running container: {peer.id}")
        if peer.record.state.restarting:
            raise ConflictError(
                f"Container {peer.id} is restarting, wait until the container is running"
            )
        return launch.Peer(peer.record, process)

    def _mounts_of(self, reference: str) -> Sequence[PlannedMount]:
        return self.find(reference).stored.mounts

    # -- create -------------------------------------------------------------------------------

    async def create(
        self,
        *,
        container_id: str,
        name: str,
        image: ImageRecord,
        image_reference: str,
        config: ContainerConfig,
        host_config: HostConfig,
        endpoints: list[EndpointRecord],
        volumes: list[VolumeRecord],
        image_mounts: dict[str, ImageRecord],
    ) -> Container:
        """Make a container; the same id again finds the first one.

        Raises:
            FlotillaError: With dockerd's text; nothing is left then.
        """
        known = self._containers.get(container_id)
        if known is not None:
            return known
        if container_id in self._creating:
            raise ConflictError(f"container {container_id} is being created")
        self._creating.add(container_id)
        try:
            planned = self._checked(config, host_config)
            record = self._record(
                container_id, name, image, image_reference, config, host_config, endpoints
            )
            stored = Stored(
                record=record,
                image=image,
                endpoints=endpoints,
                mounts=planned,
                image_mounts=image_mounts,
            )
            try:
                await self._make(stored, volumes)
            except BaseException:
                await asyncio.shield(self._unmake(stored))
                raise
            return self._register(stored)
        finally:
            self._creating.discard(container_id)

    def _checked(self, config: ContainerConfig, host: HostConfig) -> list[PlannedMount]:
        """Refuse what this host cannot do, before anything is made."""
        self._host.runtime(host.runtime)
        drivers.check(host.log_config)
        check_shipping(host.log_config, drivers.extra_attributes(host.log_config, config))
        check_security_options(host.security_opt)
        capabilities.of_container(host.cap_add, host.cap_drop, privileged=host.privileged)
        if host.storage_opt:
            raise InternalError(
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
            )
        for rule in host.device_cgroup_rules:
            devices.parse_rule(rule)
        return mount_plan.plan(config, host, self._mounts_of)

    def _record(
        self,
        container_id: str,
        name: str,
        image: ImageRecord,
        image_reference: str,
        config: ContainerConfig,
        host_config: HostConfig,
        endpoints: Sequence[EndpointRecord],
    ) -> ContainerRecord:
        command = [*(config.entrypoint or ()), *(config.cmd or ())]
        keeps_file = host_config.log_config.type in ("", drivers.DEFAULT_DRIVER)
        return ContainerRecord(
            id=container_id,
            name=name,
            node_id=self._host.node_id,
            created=now(),
            image_id=image.id,
            image=image_reference,
            platform=image.platform,
            path=command[0] if command else "",
            args=command[1:],
            config=config,
            host_config=host_config,
            state=ContainerState(),
            networks={item.network_name: _unwired(item) for item in endpoints},
            log_path=str(self._host.paths.log(container_id)) if keeps_file else "",
            apparmor_profile=apparmor_profile(host_config),
        )

    async def _make(self, stored: Stored, volumes: Sequence[VolumeRecord]) -> None:
        record = stored.record
        await self._host.snapshots.fetch(stored.image)
        snapshot = await self._host.snapshots.prepare(record.id, stored.image)
        record.graph_data = dict(snapshot.graph_data)
        paths = await self._make_volumes(stored.mounts, volumes)
        record.mounts = mount_plan.mount_points(stored.mounts, paths)
        await launch.prepare_root(self._host, stored)
        await self._host.store.save_durably(stored)

    async def _make_volumes(
        self, planned: Sequence[PlannedMount], volumes: Sequence[VolumeRecord]
    ) -> dict[str, Path]:
        given = {volume.name: volume for volume in volumes}
        paths = {}
        for mount in planned:
            if mount.type != "volume" or mount.name in paths:
                continue
            wanted = given.get(mount.name) or VolumeRecord(
                name=mount.name,
                driver=mount.driver or "local",
                created=now(),
                labels={"com.docker.volume.anonymous": ""} if mount.is_anonymous else {},
                anonymous=mount.is_anonymous,
            )
            mount.is_anonymous = mount.is_anonymous or wanted.anonymous
            made = await self._host.volumes.create(
                wanted.model_copy(update={"node_id": self._host.node_id})
            )
            paths[mount.name] = Path(made.mountpoint)
            if mount.name not in given:
                attributes = {"driver": mount.driver}
                self._host.outlet.event("volume", "create", mount.name, attributes)
        return paths

    async def _unmake(self, stored: Stored) -> None:
        for mount in stored.mounts:
            if mount.type == "volume" and mount.is_anonymous:
                with suppress(FlotillaError):
                    await self._host.volumes.remove(mount.name)
        with suppress(FlotillaError):
            await self._host.snapshots.remove(stored.record.id)
        self._host.store.remove(stored.record.id)

    def _register(self, stored: Stored) -> Container:
        container = Container(self._host, stored, self._peer, self._forget)
        self._containers[stored.record.id] = container
        container.save()
        container.event("create")
        return container

    def _forget(self, container_id: str) -> None:
        self._containers.pop(container_id, None)

    # -- adoption -----------------------------------------------------------------------------

    async def adopt(self) -> None:
        """Make memory, disk and kernel agree again, after any end of the agent or the host."""
        found = self._host.store.load()
        ids = [stored.record.id for stored in found]
        await self._host.snapshots.repair(ids)
        monitors = _monitors(self._host.paths.run)
        await self._clear_strays(ids, monitors)
        alive = [stored for stored in found if _lives(stored)]
        await self._host.networks.start(
            [_wired(stored) for stored in alive if _has_sandbox(stored)]
        )
        restart: list[Container] = []
        for stored in found:
            container = Container(self._host, stored, self._peer, self._forget)
            self._containers[stored.record.id] = container
            await self._adopt_one(container, restart, monitors)
        self._host.background.start(self._restart_all(restart), "restarts")

    async def _adopt_one(
        self, container: Container, restart: list[Container], monitors: dict[str, ProcessRef]
    ) -> None:
        stored, record = container.stored, container.record
        run = stored.run
        if stored.is_removing:
            stored.is_removing = False
            with suppress(FlotillaError):
                await container.remove(force=True)
            return
        if run is not None and record.state.pid == run.process.pid and _lives(stored):
            container.execs.adopt()
            container.adopt()
            return
        if run is not None or record.id in monitors:
            await self._ended_unseen(container, monitors.get(record.id))
            return
        if launch.has_traces(self._host, stored):
            await launch.clear(self._host, stored)
        policy = record.host_config.restart_policy
        was_running = record.state.running
        if record.state.restarting:
            container.resume_restart()
        elif restarts.is_wanted_at_boot(
            policy, was_running=was_running, was_stopped=record.manually_stopped
        ) and (was_running or record.state.started_at is not None):
            restart.append(container)
        elif was_running:
            await container.ended_unseen(_LOST_EXIT_CODE)

    async def _ended_unseen(self, container: Container, monitor: ProcessRef | None) -> None:
        """Its process has ended, or never came to run, or has lost its monitor."""
        stored = container.stored
        bundle = self._host.paths.bundle(container.id)
        code = conmon.exit_code(bundle, container.id)
        if monitor is not None:
            monitor.kill()
        if stored.run is not None:
            stored.run.process.ref().kill()
            code = stored.run.exit_code if code is None else code
        if container.record.state.running:
            await container.ended_unseen(_LOST_EXIT_CODE if code is None else code)
        else:
            stored.run = None
            await launch.clear(self._host, stored)
            container.save()

    async def _clear_strays(self, ids: Sequence[str], monitors: dict[str, ProcessRef]) -> None:
        """Remove what belongs to no container."""
        known = set(ids)
        for container_id, monitor in monitors.items():
            if container_id not in known:
                _LOG.warning("container %s is half made and removed", container_id)
                monitor.kill()
        for runtime in self._host.runtimes.values():
            for container_id in set(oci.known(runtime)) - known:
                await oci.delete(runtime, container_id)
        run = self._host.paths.run
        for folder in run.iterdir() if run.exists() else ():
            if len(folder.name) == 64 and folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    async def _restart_all(self, containers: Sequence[Container]) -> None:
        gate = asyncio.Semaphore(_RESTARTS_AT_ONCE)

        async def start(container: Container) -> None:
            async with gate:
                await container.start_again()

        await asyncio.gather(*(start(container) for container in containers))


def _unwired(endpoint: EndpointRecord) -> EndpointSettings:
    settings = endpoint.settings.model_copy()
    settings.network_id = endpoint.network_id
    return settings


def _lives(stored: Stored) -> bool:
    run = stored.run
    return run is not None and run.process.ref().is_alive() and run.monitor.ref().is_alive()


def _has_sandbox(stored: Stored) -> bool:
    return bool(stored.record.sandbox_key)


def _wired(stored: Stored) -> tuple[Joining, Sandbox]:
    record = stored.record
    joining = launch.joining_of(record, stored.endpoints)
    return joining, Sandbox(record.sandbox_id, Path(record.sandbox_key))


def _monitors(run: Path) -> dict[str, ProcessRef]:
    """Return the monitors of containers (not of execs) whose bundles are in this folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--full-attach" not in words or b"--exec" in words:
            continue
        bundle = (
            Path(words[words.index(b"--bundle") + 1].decode()) if b"--bundle" in words else None
        )
        ref = ProcessRef.of(int(entry.name))
        if bundle is not None and bundle.parent == run and ref is not None:
            found[bundle.name] = ref
    return found
