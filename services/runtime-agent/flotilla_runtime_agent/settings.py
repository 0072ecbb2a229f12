"""Settings of the runtime agent (``FLOTILLA_RUNTIME_AGENT_*``)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from flotilla_server.settings import Settings


class AgentSettings(Settings):
    """How this host's agent runs."""

    nats_url: str = Field("nats://127.0.0.1:4222", description="NATS servers, by comma")
    nats_credentials: Path | None = Field(None, description="JSON file with user and password")
    data_dir: Path = Field(Path("/var/lib/flotilla/agent"), description="what must survive")
    run_dir: Path = Field(
        Path("/run/flotilla/agent"), description="what lives as long as the host is up; short"
    )
    node_name: str = Field("", description="name of this node; empty: the host's")
    node_labels: dict[str, str] = Field(default_factory=dict, description="k=v,...")
    address: str = Field("", description="address of this host for other nodes; empty: found")
    image_store_url: str = Field("http://127.0.0.1:5000", description="where layers come from")
    image_store_token_file: Path | None = Field(
        None, description="file with the secret that the image store wants"
    )
    cgroup_parent: str = Field("/flotilla", description="cgroup of all containers")
    bridge: str = Field("flt0", description="name of the default bridge")
    table: str = Field("flotilla", description="name of the nftables table")
    tunnel_port: int = Field(
        51878, ge=0, le=65535, description="UDP port of WireGuard; 0: no encrypted networks here"
    )
    tunnel_subnet: str = Field(
        "fd5c:8a3e:41d7:77e1::/64", description="/64 inside of the tunnels, the same on all nodes"
    )
    wireguard_go: Path = Field(
        Path("/usr/bin/wireguard-go"), description="what encrypts if the kernel has no WireGuard"
    )
    conmon: Path = Field(Path("/usr/bin/conmon"), description="the monitor")
    init: Path = Field(Path("/usr/bin/tini-static"), description="what --init runs")
    runtimes: dict[str, Path] = Field(
        {"runc": Path("/usr/sbin/runc")}, description="OCI runtimes by name"
    )
    default_runtime: str = Field("runc", description="the runtime of containers that name none")
    join_token: Path | None = Field(None, description="file with a join token")
    heartbeat_s: float = Field(2.0, gt=0, description="between two signs of life")
    health_listen: str = Field("", description="HOST:PORT of /healthz, /readyz, /metrics")
    log_level: str = Field("info", description="lowest level that is logged")
    log_format: Literal["text", "json"] = Field("text", description="for people or machines")
