"""What a new container refers to: other containers, and volumes. They decide where it goes."""

from collections.abc import Iterator

from flotilla_core.clock import now
from flotilla_core.errors import InvalidArgumentError, NotFoundError
from flotilla_core.ids import new_id
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig, Mount
from flotilla_engine.records import VolumeRecord
from flotilla_engine.validate import check_driver, check_volume
from flotilla_engine.volume_specs import parse_bind
from flotilla_gateway.catalogue.catalogue import Catalogue
from flotilla_gateway.domain.locator import Located, Locator
from flotilla_gateway.placement.nodes import Home

_CONTAINER_MODES = ("network_mode", "ipc_mode", "pid_mode")
_PREFIX = "container:"


class References:
    """Looks up what a container refers to."""

    def __init__(self, catalogue: Catalogue, locator: Locator) -> None:
        self._volumes = catalogue.volumes
        self._locator = locator

    async def resolved(self, host_config: HostConfig, homes: list[Home]) -> HostConfig:
        """Return the configuration with full ids of other containers; adds their nodes as homes.

        Raises:
            InvalidArgumentError: If one does not exist, in dockerd's words.
        """
        update: dict[str, object] = {}
        for field in _CONTAINER_MODES:
            mode: str = getattr(host_config, field)
            if mode.startswith(_PREFIX):
                other = await self._other(mode.removeprefix(_PREFIX))
                update[field] = _PREFIX + other.id
                homes.append(Home(other.node_id, f"shares a namespace with {other.name}"))
        for text in host_config.links:
            reference = text.partition(":")[0]
            try:
                other = await self._other(reference)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(
                    f"could not get container for {reference}: {error.message}"
                ) from error
            if host_config.network_mode in ("", "default", "bridge"):
                homes.append(Home(other.node_id, f"linked to {other.name}"))
        return host_config.model_copy(update=update)

    async def volumes_from(self, host_config: HostConfig, homes: list[Home]) -> list[str]:
        """Return ``VolumesFrom`` with full ids; adds the containers' nodes as homes.

        Raises:
            InvalidArgumentError: If one does not exist, in dockerd's words.
        """
        resolved = []
        for text in host_config.volumes_from:
            reference, colon, mode = text.partition(":")
            if not reference:
                raise InvalidArgumentError('invalid name or ID supplied: ""')
            other = await self._other(reference)
            resolved.append(other.id + colon + mode)
            homes.append(Home(other.node_id, f"has volumes from {other.name}"))
        return resolved

    async def _other(self, reference: str) -> Located:
        try:
            return await self._locator.container(reference, reachable=False)
        except NotFoundError as error:
            raise InvalidArgumentError(error.message) from error

    async def volumes(
        self, config: ContainerConfig, host_config: HostConfig, homes: list[Home]
    ) -> list[VolumeRecord]:
        """Return the named volumes of a container, known or new; adds the known ones' homes."""
        wanted = dict(_named_volumes(host_config))
        known = {volume.name: volume for volume in await self._volumes.all(list(wanted))}
        for volume in known.values():
            if volume.node_id:
                homes.append(Home(volume.node_id, f"volume {volume.name} is on another node"))
        asked = {
            name: _new_volume(name, mount, host_config.volume_driver)
            for name, mount in wanted.items()
        }
        for name, volume in asked.items():
            check_driver(name, volume.driver)
            if name not in known:
                check_volume(name, volume.driver, volume.options)
        if _has_anonymous(config, host_config):
            check_driver(new_id(), host_config.volume_driver)
        return list((asked | known).values())


def _named_volumes(host_config: HostConfig) -> Iterator[tuple[str, Mount | None]]:
    for bind in host_config.binds:
        source, colon, _ = bind.partition(":")
        if colon and source and not source.startswith("/"):
            yield source, None
    for mount in host_config.mounts:
        if mount.type == "volume" and mount.source:
            yield mount.source, mount


def _has_anonymous(config: ContainerConfig, host_config: HostConfig) -> bool:
    taken = {parse_bind(bind).destination for bind in host_config.binds}
    taken |= {mount.target for mount in host_config.mounts}
    return bool(set(config.volumes) - taken)


def _new_volume(name: str, mount: Mount | None, default_driver: str) -> VolumeRecord:
    options = mount.volume_options if mount else None
    driver = options.driver_config if options else None
    return VolumeRecord(
        name=name,
        driver=(driver.name if driver else "" if mount else default_driver) or "local",
        options=driver.options if driver else {},
        labels=options.labels if options else {},
        created=now().replace(microsecond=0),
    )
