"""How a container sits on its host: ``HostConfig`` of the Engine API and its parts."""

from typing import Any

from pydantic import Field

from flotilla_engine.model import EngineModel, Int64

RUNC_SHIM = "io.containerd.runc.v2"
"""containerd's name of runc, which dockerd takes as a runtime's name too."""


class RestartPolicy(EngineModel):
    """``RestartPolicy``: no, always, unless-stopped or on-failure."""

    name: str = ""
    maximum_retry_count: Int64 = 0


class LogConfig(EngineModel):
    """Logging driver and its options; an empty type is the node's default."""

    type: str = ""
    config: dict[str, str] = Field(default_factory=dict)


class PortBinding(EngineModel):
    """``PortBinding``: an address and port of the host, both as text."""

    host_ip: str = ""
    host_port: str = ""


class DeviceMapping(EngineModel):
    """``DeviceMapping``."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(EngineModel):
    """``DeviceRequest``, such as GPUs."""

    driver: str = ""
    count: Int64 = 0
    device_ids: list[str] = Field(default_factory=list, alias="DeviceIDs")
    capabilities: list[list[str]] = Field(default_factory=list)
    options: dict[str, str] = Field(default_factory=dict)


class Ulimit(EngineModel):
    """A resource limit; -1 is unlimited."""

    name: str = ""
    soft: Int64 = 0
    hard: Int64 = 0


class ThrottleDevice(EngineModel):
    """``ThrottleDevice``: a rate for a block device."""

    path: str = ""
    rate: int = Field(default=0, ge=0, le=2**64 - 1)


class WeightDevice(EngineModel):
    """A block device's relative weight."""

    path: str = ""
    weight: int = Field(default=0, ge=0, le=2**16 - 1)


class BindOptions(EngineModel):
    """``Mount.BindOptions``."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeDriverConfig(EngineModel):
    """``Mount.VolumeOptions.DriverConfig``."""

    name: str = ""
    options: dict[str, str] = Field(default_factory=dict)


class VolumeOptions(EngineModel):
    """``Mount.VolumeOptions``."""

    no_copy: bool = False
    labels: dict[str, str] = Field(default_factory=dict)
    driver_config: VolumeDriverConfig | None = None
    subpath: str = ""


class ImageOptions(EngineModel):
    """``Mount.ImageOptions``."""

    subpath: str = ""


class TmpfsOptions(EngineModel):
    """``Mount.TmpfsOptions``; the mode is a plain number."""

    size_bytes: Int64 = 0
    mode: int = Field(default=0, ge=0, le=2**32 - 1)
    options: list[list[str]] = Field(default_factory=list)


class Mount(EngineModel):
    """``Mount``: one entry of ``HostConfig.Mounts``."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    cluster_options: dict[str, Any] | None = None


class Resources(EngineModel):
    """``Resources``: the limits, shared by create and update."""

    cpu_shares: Int64 = 0
    memory: Int64 = 0
    nano_cpus: Int64 = 0
    cgroup_parent: str = ""
    blkio_weight: int = Field(default=0, ge=0, le=2**16 - 1)
    blkio_weight_device: list[WeightDevice] = Field(default_factory=list)
    blkio_device_read_bps: list[ThrottleDevice] = Field(default_factory=list)
    blkio_device_write_bps: list[ThrottleDevice] = Field(default_factory=list)
    blkio_device_read_iops: list[ThrottleDevice] = Field(
        default_factory=list, alias="BlkioDeviceReadIOps"
    )
    blkio_device_write_iops: list[ThrottleDevice] = Field(
        default_factory=list, alias="BlkioDeviceWriteIOps"
    )
    cpu_period: Int64 = 0
    cpu_quota: Int64 = 0
    cpu_realtime_period: Int64 = 0
    cpu_realtime_runtime: Int64 = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] = Field(default_factory=list)
    device_cgroup_rules: list[str] = Field(default_factory=list)
    device_requests: list[DeviceRequest] = Field(default_factory=list)
    kernel_memory: Int64 = 0
    kernel_memory_tcp: Int64 = Field(default=0, alias="KernelMemoryTCP")
    memory_reservation: Int64 = 0
    memory_swap: Int64 = 0
    memory_swappiness: Int64 | None = None
    oom_kill_disable: bool | None = None
    pids_limit: Int64 | None = None
    ulimits: list[Ulimit] = Field(default_factory=list)
    cpu_count: Int64 = 0
    cpu_percent: Int64 = 0
    io_maximum_iops: int = Field(default=0, ge=0, le=2**64 - 1, alias="IOMaximumIOps")
    io_maximum_bandwidth: int = Field(default=0, ge=0, le=2**64 - 1, alias="IOMaximumBandwidth")


class HostConfig(Resources):
    """``HostConfig``.

    ``masked_paths`` and ``readonly_paths`` are None where they were not given: the defaults
    are used then, while an empty list masks nothing.
    """

    binds: list[str] = Field(default_factory=list)
    container_id_file: str = Field(default="", alias="ContainerIDFile")
    log_config: LogConfig = Field(default_factory=LogConfig)
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] = Field(default_factory=dict)
    restart_policy: RestartPolicy = Field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] = Field(default_factory=list)
    mounts: list[Mount] = Field(default_factory=list)
    console_size: list[int] | None = None  # height, width
    annotations: dict[str, str] = Field(default_factory=dict)
    cap_add: list[str] = Field(default_factory=list)
    cap_drop: list[str] = Field(default_factory=list)
    capabilities: list[str] = Field(default_factory=list)  # API 1.40 only
    cgroupns_mode: str = ""
    dns: list[str] = Field(default_factory=list)
    dns_options: list[str] = Field(default_factory=list)
    dns_search: list[str] = Field(default_factory=list)
    extra_hosts: list[str] = Field(default_factory=list)
    group_add: list[str] = Field(default_factory=list)
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] = Field(default_factory=list)
    oom_score_adj: Int64 = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] = Field(default_factory=list)
    storage_opt: dict[str, str] = Field(default_factory=dict)
    tmpfs: dict[str, str] = Field(default_factory=dict)
    uts_mode: str = Field(default="", alias="UTSMode")
    userns_mode: str = ""
    shm_size: Int64 = 0
    sysctls: dict[str, str] = Field(default_factory=dict)
    runtime: str = ""
    isolation: str = ""
    init: bool | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
