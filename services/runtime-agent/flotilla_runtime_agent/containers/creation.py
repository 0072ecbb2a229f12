"""Making a container: refused where this host cannot do it, or made as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flotilla_core.clock import now
from flotilla_core.errors import FlotillaError, InternalError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.networking import EndpointSettings
from flotilla_engine.records import ContainerRecord, EndpointRecord, ImageRecord, VolumeRecord
from flotilla_engine.state import ContainerState
from flotilla_runtime_agent.containers import mount_plan
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.store import Stored
from flotilla_runtime_agent.logs import drivers
from flotilla_runtime_agent.logs.shipping.drivers import check_shipping
from flotilla_runtime_agent.spec import apparmor, capabilities
from flotilla_runtime_agent.spec.build import check_security_options
from flotilla_runtime_agent.spec.inroot import make_folders
from flotilla_runtime_agent.spec.mounts import PlannedMount


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    id: str
    name: str
    image: ImageRecord
    image_reference: str
    config: ContainerConfig
    host_config: HostConfig
    endpoints: list[EndpointRecord]
    volumes: list[VolumeRecord]
    volumes_from: list[str]  # with full ids
    image_mounts: dict[str, ImageRecord]


class Creation:
    """Makes containers on this host."""

    def __init__(self, host: Host, mounts_of: Callable[[str], Sequence[PlannedMount]]) -> None:
        """Make them here; ``mounts_of`` answers ``VolumesFrom``."""
        self._host = host
        self._mounts_of = mounts_of

    async def make(self, wanted: Wanted) -> Stored:
        """Make what a container consists of.

        Raises:
            FlotillaError: With dockerd's text; nothing is left then.
        """
        stored = Stored(
            mounts=self._checked(wanted),
            record=self._record(wanted),
            image=wanted.image,
            endpoints=wanted.endpoints,
            image_mounts=wanted.image_mounts,
        )
        try:
            await self._make(stored, wanted.volumes)
        except BaseException:
            await asyncio.shield(self._unmake(stored))
            raise
        return stored

    def _checked(self, wanted: Wanted) -> list[PlannedMount]:
        """Refuse what this host cannot do, before anything is made."""
        config, host = wanted.config, wanted.host_config
        self._host.runtime(host.runtime)
        drivers.check(host.log_config)
        check_shipping(host.log_config)
        check_security_options(host.security_opt)
        capabilities.of_container(host.cap_add, host.cap_drop, privileged=host.privileged)
        if host.storage_opt:
            raise InternalError(
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
            )
        inherited = mount_plan.from_others(wanted.volumes_from, self._mounts_of)
        return mount_plan.plan(config, host, inherited, self._host.paths.data)

    def _record(self, wanted: Wanted) -> ContainerRecord:
        config, host_config = wanted.config, wanted.host_config
        command = [*(config.entrypoint or ()), *(config.cmd or ())]
        keeps_file = host_config.log_config.type in ("", drivers.DEFAULT_DRIVER)
        return ContainerRecord(
            id=wanted.id,
            name=wanted.name,
            node_id=self._host.node_id,
            created=now(),
            image_id=wanted.image.id,
            image=wanted.image_reference,
            platform=wanted.image.platform,
            path=command[0] if command else "",
            args=command[1:],
            config=config,
            host_config=host_config,
            state=ContainerState(),
            networks={item.network_name: _unwired(item) for item in wanted.endpoints},
            log_path=str(self._host.paths.log(wanted.id)) if keeps_file else "",
            apparmor_profile=apparmor.asked(host_config.security_opt),
        )

    async def _make(self, stored: Stored, volumes: Sequence[VolumeRecord]) -> None:
        record = stored.record
        await self._host.snapshots.fetch(stored.image)
        snapshot = await self._host.snapshots.prepare(record.id, stored.image)
        record.graph_data = dict(snapshot.graph_data)
        paths = await self._make_volumes(stored, volumes)
        record.mounts = mount_plan.mount_points(stored.mounts, paths)
        await _prepare_root(self._host, stored)
        await self._host.store.save_durably(stored)

    async def _make_volumes(
        self, stored: Stored, volumes: Sequence[VolumeRecord]
    ) -> dict[str, Path]:
        given = {volume.name: volume for volume in volumes}
        paths = {}
        for mount in stored.mounts:
            if mount.type != "volume" or mount.name in paths:
                continue
            wanted = given.get(mount.name) or VolumeRecord(
                name=mount.name,
                driver=mount.driver or "local",
                created=now(),
                labels={"com.docker.volume.anonymous": ""} if mount.is_anonymous else {},
                anonymous=mount.is_anonymous,
            )
            self._host.volumes.hold(mount.name, stored.record.id)
            made = await self._host.volumes.create(
                wanted.model_copy(update={"node_id": self._host.node_id})
            )
            paths[mount.name] = Path(made.mountpoint)
            if mount.is_new:
                attributes = {"driver": mount.driver}
                self._host.outlet.event("volume", "create", mount.name, attributes)
        return paths

    async def _unmake(self, stored: Stored) -> None:
        self._host.volumes.release(stored.record.id)
        for mount in stored.mounts:
            if mount.type == "volume" and mount.is_new:
                with suppress(FlotillaError):
                    await self._host.volumes.remove(mount.name)
        with suppress(FlotillaError):
            await self._host.snapshots.remove(stored.record.id)
        self._host.store.remove(stored.record.id)


def _unwired(endpoint: EndpointRecord) -> EndpointSettings:
    settings = endpoint.settings.model_copy()
    settings.network_id = endpoint.network_id
    return settings


async def _prepare_root(host: Host, stored: Stored) -> None:
    """At create: have the working folder, and fill new volumes from the image.

    Raises:
        FlotillaError: With dockerd's text.
    """
    record = stored.record
    workdir = record.config.working_dir
    fresh = [mount for mount in stored.mounts if mount.type == "volume" and not mount.no_copy]
    if not fresh and workdir in ("", "/"):
        return
    root = await host.snapshots.mount(record.id)
    try:
        if workdir not in ("", "/"):
            _make_workdir(root, workdir)
        for mount in fresh:
            if not mount.subpath:
                await host.volumes.copy_up(mount.name, root, mount.destination)
    finally:
        await host.snapshots.unmount(record.id)


def _make_workdir(root: Path, workdir: str) -> None:
    try:
        make_folders(root, workdir)
    except NotADirectoryError as error:
        raise InternalError(f"Cannot mkdir: {workdir} is not a directory") from error
    except OSError as error:
        raise InternalError(f"mkdir {workdir}: {(error.strerror or '').lower()}") from error
