"""What the services tell each other about containers, images, networks, volumes and nodes.

A record is the fleet's own shape (snake_case), built from the Engine API's models; how a
client of some API version sees it is decided in ``render``, nowhere else.
"""

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from flotilla_engine.config import ContainerConfig
from flotilla_engine.exec import ExecConfig
from flotilla_engine.host_config import HostConfig, PortBinding
from flotilla_engine.mounts import MountPoint
from flotilla_engine.networking import EndpointSettings, Ipam
from flotilla_engine.state import ContainerState

ENCRYPTED = "encrypted"  # the option of networks


class Record(BaseModel):
    """Base of all records: unknown fields are ignored, so that versions may mix in a fleet."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Platform(Record):
    """An OCI platform (image-spec, ``image-index.md``)."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""


class ContainerRecord(Record):
    """A container as its node knows it; ``revision`` grows with each change on that node."""

    id: str
    name: str  # without the leading slash
    node_id: str
    revision: int = 0
    created: datetime
    image_id: str  # sha256:<64 hex>, the digest of the image's config
    image: str  # the reference as the user gave it
    platform: Platform = Field(default_factory=Platform)
    path: str = ""
    args: list[str] = Field(default_factory=list)
    config: ContainerConfig
    host_config: HostConfig
    state: ContainerState
    networks: dict[str, EndpointSettings] = Field(default_factory=dict)  # by network name
    ports: dict[str, list[PortBinding] | None] = Field(default_factory=dict)  # as bound now
    sandbox_id: str = ""
    sandbox_key: str = ""
    mounts: list[MountPoint] = Field(default_factory=list)
    restart_count: int = 0
    manually_stopped: bool = False
    exec_ids: list[str] = Field(default_factory=list)
    log_path: str = ""
    hostname_path: str = ""
    hosts_path: str = ""
    resolv_conf_path: str = ""
    apparmor_profile: str = ""
    graph_driver: str = "overlay2"
    graph_data: dict[str, str] = Field(default_factory=dict)


class ContainerChange(Record):
    """One entry of a node's report: the container's newest record, or that it is gone."""

    id: str
    revision: int
    record: ContainerRecord | None = None  # None: removed


class ContainerSize(Record):
    """Disk use of one container in bytes: the writable layer, and with all its layers."""

    rw_bytes: int
    root_fs_bytes: int


class ExecRecord(Record):
    """An exec instance (``GET /exec/{id}/json``)."""

    id: str
    container_id: str
    config: ExecConfig
    running: bool = False
    exit_code: int | None = None
    pid: int = 0
    can_remove: bool = False


class Layer(Record):
    """A layer of an image: the compressed blob and what it unpacks to."""

    digest: str  # of the blob as stored
    diff_id: str  # of the uncompressed tar
    size_bytes: int  # of the blob
    media_type: str
    diff_bytes: int = 0  # unpacked


class ImageRecord(Record):
    """An image of one platform; ``id`` is its config's digest."""

    id: str
    created: datetime | None = None
    repo_tags: list[str] = Field(default_factory=list)  # familiar form: busybox:latest
    repo_digests: list[str] = Field(default_factory=list)  # familiar form: busybox@sha256:…
    parent: str = ""
    comment: str = ""
    author: str = ""
    docker_version: str = ""
    config: ContainerConfig = Field(default_factory=ContainerConfig)
    platform: Platform = Field(default_factory=Platform)
    layers: list[Layer] = Field(default_factory=list)  # bottom first
    size_bytes: int = 0
    last_tagged: datetime | None = None

    def chain_ids(self) -> list[str]:
        """Return the chain id of each layer, bottom first (image-spec, ``config.md``)."""
        from_below = ""
        chain = []
        for layer in self.layers:
            from_below = _chain(from_below, layer.diff_id)
            chain.append(from_below)
        return chain


def _chain(below: str, diff_id: str) -> str:
    if not below:
        return diff_id
    return "sha256:" + sha256(f"{below} {diff_id}".encode()).hexdigest()


class NodeState(StrEnum):
    """How a node stands with the fleet."""

    READY = "ready"
    UNREACHABLE = "unreachable"
    DRAINED = "drained"  # takes no new containers


class TunnelEnd(Record):
    """A node's end of the encrypted tunnels between nodes: its WireGuard interface."""

    public_key: str  # base64
    address: str  # within the tunnels
    port: int  # UDP, at the node's address


class NodeRecord(Record):
    """A host that runs an agent and has joined."""

    id: str
    name: str
    address: str  # where other nodes reach it, without a port
    labels: dict[str, str] = Field(default_factory=dict)
    platform: Platform = Field(default_factory=Platform)
    cpus: int = 0
    memory_bytes: int = 0
    state: NodeState = NodeState.READY
    last_seen: datetime | None = None
    engine_version: str = ""
    tunnel: TunnelEnd | None = None  # None: it cannot take part in encrypted networks
    encryption: str = ""  # what encrypts, or why nothing does


class NodeInfo(Record):
    """What ``docker info`` wants to know of a host, beyond its record."""

    node: NodeRecord
    kernel_version: str = ""
    operating_system: str = ""
    os_version: str = ""
    storage_driver: str = "overlay2"
    storage_status: list[tuple[str, str]] = Field(default_factory=list)
    docker_root_dir: str = ""
    cgroup_driver: str = "cgroupfs"
    cgroup_version: str = "1"
    security_options: list[str] = Field(default_factory=list)
    runtimes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    default_runtime: str = "runc"
    runc_version: str = ""
    log_drivers: list[str] = Field(default_factory=list)
    memory_limit: bool = True
    swap_limit: bool = True
    cpu_cfs: bool = True
    cpu_shares: bool = True
    cpu_set: bool = True
    pids_limit: bool = True
    oom_kill_disable: bool = True
    blkio_weight: bool = True
    blkio_weight_device: bool = True
    ipv4_forwarding: bool = True
    warnings: list[str] = Field(default_factory=list)
    system_time: datetime | None = None
    n_fd: int = 0
    n_goroutines: int = 0  # tasks of our event loop
    subnets: list[str] = Field(default_factory=list)  # that the host has routes to


class NetworkRecord(Record):
    """A network of the fleet (or a node's own, for ``bridge``, ``host``, ``none``)."""

    id: str
    name: str
    created: datetime
    driver: str = "bridge"
    scope: str = "local"
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: str = ""
    ipam: Ipam = Field(default_factory=Ipam)
    options: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    vni: int = 0  # VXLAN network identifier; 0 for networks that never span nodes

    @property
    def encrypted(self) -> bool:
        """Whether its packets between nodes are encrypted; as with dockerd any value means so."""
        return bool(self.vni) and ENCRYPTED in self.options


class EndpointRecord(Record):
    """A container's place in a network; its addresses are leased as long as it exists."""

    id: str
    network_id: str
    network_name: str
    container_id: str
    container_name: str
    node_id: str
    mac_address: str = ""
    ipv4_address: str = ""  # 172.18.0.2/16
    ipv6_address: str = ""  # fd00::2/64
    names: list[str] = Field(default_factory=list)  # all that DNS answers to
    running: bool = False
    settings: EndpointSettings = Field(default_factory=EndpointSettings)  # as asked for


class NetworkNode(Record):
    """A node that takes part in a network."""

    id: str
    name: str
    address: str  # VXLAN endpoint of the host
    tunnel: TunnelEnd | None = None  # given with encrypted networks


class NetworkState(Record):
    """All that an agent needs to make its part of one network right."""

    network: NetworkRecord
    revision: int
    nodes: list[NetworkNode] = Field(default_factory=list)
    endpoints: list[EndpointRecord] = Field(default_factory=list)


class VolumeRecord(Record):
    """A volume; ``node_id`` is empty until its first use binds it to a node."""

    name: str
    driver: str = "local"
    node_id: str = ""
    created: datetime
    mountpoint: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    options: dict[str, str] = Field(default_factory=dict)
    anonymous: bool = False


class VolumeUsage(Record):
    """Disk use of a volume; -1 where it is not known (Engine API ``Volume.UsageData``)."""

    name: str
    size_bytes: int = -1
    ref_count: int = -1
