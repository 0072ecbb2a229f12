"""What the container core needs of snapshots, networks and volumes: interfaces only.

Each has one implementation in this service (``snapshots``, ``network``, ``volumes``). All
methods are idempotent: calling one twice, or after a crash half way, ends in the same state.
Blocking work inside them runs in threads; they never block the event loop.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flotilla_engine.host_config import HostConfig, PortBinding
from flotilla_engine.networking import EndpointSettings
from flotilla_engine.records import (
    ContainerSize,
    EndpointRecord,
    ImageRecord,
    NetworkState,
    TunnelEnd,
    VolumeRecord,
    VolumeUsage,
)


@dataclass(frozen=True)
class Snapshot:
    """A container's file system: where it is mounted, and its writable layer."""

    root: Path  # merged view; exists (empty) also while not mounted
    upper: Path
    work: Path
    lower: tuple[Path, ...]  # top layer first
    graph_data: Mapping[str, str] = field(default_factory=dict)  # inspect's GraphDriver.Data


class Snapshots(Protocol):
    """Layers by chain id, and one writable snapshot per container."""

    async def fetch(self, image: ImageRecord) -> None:
        """Have all layers of the image on this node, fetched from the image store.

        Raises:
            FlotillaError: UNAVAILABLE if the image store does not answer, NOT_FOUND if it has
                no such layer.
        """
        ...

    async def prepare(self, container_id: str, image: ImageRecord) -> Snapshot:
        """Make the container's snapshot (not mounted); layers must be there."""
        ...

    async def get(self, container_id: str) -> Snapshot:
        """Return the container's snapshot. Raises: FlotillaError NOT_FOUND."""
        ...

    async def mount(self, container_id: str) -> Path:
        """Mount the snapshot if it is not, and return its root."""
        ...

    async def unmount(self, container_id: str) -> None:
        """Unmount the snapshot, if it is mounted."""
        ...

    async def remove(self, container_id: str) -> None:
        """Unmount and delete the snapshot; its layers stay."""
        ...

    async def size(self, container_id: str) -> ContainerSize:
        """Measure the snapshot."""
        ...

    async def mount_image(self, image: ImageRecord, target: Path) -> None:
        """Mount an image's layers read-only at target (mounts of type image)."""
        ...

    async def release(self, keep: Sequence[ImageRecord]) -> int:
        """Delete layers that no snapshot and none of these images uses; returns bytes."""
        ...

    async def repair(self, container_ids: Sequence[str]) -> None:
        """At start: remove half-made layers and snapshots of containers that are not listed."""
        ...


@dataclass(frozen=True)
class Attachment:
    """What joining a container's sandbox to its networks came to."""

    networks: dict[str, EndpointSettings]  # by network name, with the addresses in force
    ports: dict[str, list[PortBinding] | None]
    hosts: list[tuple[str, str]]  # (address, names separated by blanks) for /etc/hosts
    nameservers: list[str]  # for /etc/resolv.conf
    search: list[str]
    resolv_options: list[str]
    env: list[str] = field(default_factory=list)  # of legacy links


@dataclass(frozen=True)
class Sandbox:
    """A network namespace of a container."""

    id: str
    key: Path  # path of the namespace, usable after the agent's death


@dataclass(frozen=True)
class Joining:
    """A container that is to be wired."""

    container_id: str
    name: str
    hostname: str
    domainname: str
    host_config: HostConfig
    exposed_ports: Sequence[str]  # "80/tcp"
    endpoints: Sequence[EndpointRecord]  # one per network; the default bridge's has no address
    labels: Mapping[str, str] = field(default_factory=dict)


class Networks(Protocol):
    """Everything of the host's network that concerns containers.

    Network modes ``host`` and ``container:`` never come here: the core joins those namespaces.
    """

    async def start(self, running: Sequence[tuple[Joining, Sandbox]]) -> None:
        """Make the host's part right (bridges, tables, DNS) for the containers that run."""
        ...

    async def close(self) -> None:
        """Stop what runs in this process (DNS, held ports); wiring in the kernel stays."""
        ...

    async def create_sandbox(self, container_id: str) -> Sandbox:
        """Make the container's network namespace, loopback up, nothing else in it."""
        ...

    async def attach(self, joining: Joining, sandbox: Sandbox) -> Attachment:
        """Wire the sandbox into all its networks and publish its ports.

        Raises:
            FlotillaError: With dockerd's text, for example ``driver failed programming external
                connectivity on endpoint …: Bind for 0.0.0.0:80 failed: port is already
                allocated``. Nothing of the attempt is left.
        """
        ...

    async def connect(
        self, joining: Joining, sandbox: Sandbox, endpoint: EndpointRecord
    ) -> Attachment:
        """Add one network to a running container; the answer describes all its networks."""
        ...

    async def disconnect(self, joining: Joining, sandbox: Sandbox, network_id: str) -> Attachment:
        """Take one network from a running container."""
        ...

    async def detach(self, container_id: str) -> None:
        """Free ports, names and addresses of a stopped container and drop its sandbox."""
        ...

    async def apply(self, state: NetworkState) -> None:
        """Make this node's part of a user network as the state says (older revisions ignored)."""
        ...

    async def remove_network(self, network_id: str) -> None:
        """Remove this node's part of a network."""
        ...

    async def network_states(self) -> list[NetworkState]:
        """Return what is known of each user network, as applied last."""
        ...

    def driver_of(self, network_id: str) -> str:
        """Return the driver of a network; `bridge` for those that every node has by itself."""
        ...

    def address(self) -> str:
        """Return where other nodes reach this host; empty if nowhere."""
        ...

    def encryption(self) -> tuple[TunnelEnd | None, str]:
        """Return this node's end of encrypted networks, and what encrypts or why nothing does."""
        ...


@dataclass(frozen=True)
class MountedVolume:
    """A volume made ready for a container."""

    record: VolumeRecord
    path: Path  # what to bind into the container


class Volumes(Protocol):
    """The node's volumes: driver ``local``."""

    async def create(self, volume: VolumeRecord) -> VolumeRecord:
        """Have the volume; answers with its mountpoint. The same options twice is no error."""
        ...

    async def inspect(self, name: str) -> VolumeRecord:
        """Return the volume. Raises: FlotillaError NOT_FOUND."""
        ...

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Delete the volume and its data. Raises: FlotillaError CONFLICT while held."""
        ...

    def importing(self, volume: VolumeRecord) -> AbstractAsyncContextManager[Path]:
        """Give a folder to fill; it becomes the volume at the end, or vanishes."""
        ...

    def hold(self, name: str, container_id: str) -> None:
        """Keep the volume from being removed while the container is there."""
        ...

    def release(self, container_id: str) -> None:
        """Forget what a container that is gone has held."""
        ...

    async def mount(self, name: str, container_id: str) -> MountedVolume:
        """Mount for a container (counted; options type/o/device are mounted at first use)."""
        ...

    async def unmount(self, name: str, container_id: str) -> None:
        """Give the volume back; the last one unmounts what options had mounted."""
        ...

    async def copy_up(self, name: str, image_root: Path, destination: str) -> None:
        """Fill an empty volume with what the image has at destination (dockerd's rules)."""
        ...

    async def usage(self, names: Sequence[str]) -> list[VolumeUsage]:
        """Measure the volumes."""
        ...

    async def list(self) -> list[VolumeRecord]:
        """Return all volumes of this node."""
        ...
