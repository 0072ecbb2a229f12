"""A container that is asked for, with all that it refers to looked up: ready to be placed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from flotilla_bus import Bus
from flotilla_bus.contracts import images
from flotilla_core.errors import NotFoundError
from flotilla_core.ids import new_id
from flotilla_engine import defaults
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.networking import EndpointSettings, NetworkingConfig
from flotilla_engine.ports import normalised_bindings, split_protocol
from flotilla_engine.records import ImageRecord, NetworkRecord, VolumeRecord
from flotilla_engine.versions import MAXIMUM, Version
from flotilla_gateway.domain.image_config import merged
from flotilla_gateway.domain.networks import Networks
from flotilla_gateway.domain.references import References
from flotilla_gateway.domain.views import View
from flotilla_gateway.placement.expressions import is_wish, wishes
from flotilla_gateway.placement.nodes import Home, PortClaim, Wanted


@dataclass
class CreateRequest:
    """A container as a client asks for it."""

    name: str
    config: ContainerConfig
    host_config: HostConfig
    networking: NetworkingConfig
    platform: str = ""
    version: Version = MAXIMUM
    view: View = field(default_factory=View)


@dataclass
class Draft:
    """A container that is ready to be placed."""

    name: str
    image: ImageRecord
    config: ContainerConfig
    host_config: HostConfig
    wanted: Wanted
    volumes: list[VolumeRecord]
    volumes_from: list[str]
    networks: dict[str, tuple[NetworkRecord | None, EndpointSettings]]  # by name
    image_mounts: dict[str, ImageRecord] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
    warnings: list[str] = field(default_factory=list)


class Drafts:
    """Makes drafts."""

    def __init__(self, bus: Bus, references: References, networks: Networks) -> None:
        self._bus = bus
        self._references = references
        self._networks = networks

    async def draft(self, request: CreateRequest) -> Draft:
        """Look up all that a container refers to.

        Raises:
            FlotillaError: In dockerd's words, if something is not there.
        """
        image = await self.image(request.config.image, request.platform)
        wished = wishes(request.config.labels, request.config.env)
        config = merged(request.config, image.config)
        config = config.model_copy(update={"env": [one for one in config.env if not is_wish(one)]})
        host_config = request.host_config
        defaults.fill_in(host_config)
        homes: list[Home] = []
        if request.view.node_id is not None:
            homes.append(Home(request.view.node_id, "not the node that was asked"))
        host_config = await self._references.resolved(host_config, homes)
        volumes_from = await self._references.volumes_from(host_config, homes)
        volumes = await self._references.volumes(config, host_config, homes)
        networks = await self._asked_networks(config, host_config, request.networking)
        return Draft(
            name=request.name,
            image=image,
            config=config,
            host_config=host_config,
            wanted=Wanted(
                wishes=wished,
                platforms=[image.platform],
                nano_cpus=host_config.nano_cpus,
                memory_bytes=host_config.memory_reservation,
                ports=port_claims(host_config),
                homes=homes,
                encrypted=next(
                    (one.name for one, _ in networks.values() if one and one.encrypted), ""
                ),
            ),
            volumes=volumes,
            volumes_from=volumes_from,
            networks=networks,
            image_mounts={
                mount.source: await self.image(mount.source, request.platform)
                for mount in host_config.mounts
                if mount.type == "image"
            },
        )

    async def image(self, reference: str, platform: str = "") -> ImageRecord:
        """Return the image of a reference. Raises: NotFoundError, so that clients pull."""
        answer = await self._bus.call(
            images.RESOLVE, images.ImageRequest(reference=reference, platform=platform)
        )
        return answer.image

    async def _asked_networks(
        self, config: ContainerConfig, host_config: HostConfig, networking: NetworkingConfig
    ) -> dict[str, tuple[NetworkRecord | None, EndpointSettings]]:
        """Return the networks by name; a network that is not there yet is None.

        A host name that was asked for is a name in each of them.
        """
        mode, hostname = host_config.network_mode, config.hostname
        if config.network_disabled or mode.startswith("container:"):
            return {}
        asked = {
            "bridge" if name == "default" else name: settings or EndpointSettings()
            for name, settings in networking.endpoints_config.items()
        } or {mode: EndpointSettings()}
        networks: dict[str, tuple[NetworkRecord | None, EndpointSettings]] = {}
        for name, settings in asked.items():
            settings.dns_names = [hostname] if hostname else []
            try:
                network = await self._networks.find(name)
            except NotFoundError:
                networks[name] = None, settings
                continue
            await self._networks.check(network, settings)
            networks[network.name] = network, settings
        return networks


def port_claims(host_config: HostConfig) -> Sequence[PortClaim]:
    """Return the fixed host ports of a container; ranges and random ones claim nothing."""
    claims = set()
    for port, bindings in normalised_bindings(host_config.port_bindings).items():
        protocol, _ = split_protocol(port)
        for binding in bindings:
            if binding.host_port.isdecimal() and int(binding.host_port):
                claims.add(PortClaim(protocol, int(binding.host_port), binding.host_ip))
    return sorted(claims, key=lambda claim: (claim.port, claim.protocol, claim.address))
