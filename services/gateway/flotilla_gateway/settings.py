"""The gateway's settings, from flags, `FLOTILLA_GATEWAY_*`, a file, or their defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from flotilla_gateway.placement.choose import Strategy
from flotilla_server.settings import Settings


class GatewaySettings(Settings):
    """Everything that operators may set of a gateway."""

    nats_url: str = Field("nats://127.0.0.1:4222", description="NATS servers, by comma.")
    nats_credentials: Path | None = Field(
        None, description="JSON file with `user` and `password` for NATS."
    )
    listen: list[str] = Field(
        default_factory=lambda: ["tcp://127.0.0.1:2375"],
        description="Where Docker clients connect: tcp://HOST:PORT, tls://HOST:PORT, unix://PATH.",
    )
    tls_cert: Path | None = Field(None, description="PEM file: certificate of tls:// listeners.")
    tls_key: Path | None = Field(None, description="PEM file: private key of tls:// listeners.")
    tls_ca: Path | None = Field(
        None, description="PEM file: authorities of client certificates; asks clients for one."
    )
    data_dir: Path = Field(
        Path("/var/lib/flotilla/gateway"), description="Folder of the default database."
    )
    database_url: str = Field(
        "", description="sqlite:////PATH or postgresql://…; by default a file in the data folder."
    )
    direct_listen: str = Field(
        "", description="HOST:PORT where agents bring streams directly; empty: all through NATS."
    )
    direct_advertise: str = Field("", description="The host that agents dial for it, if another.")
    health_listen: str = Field("", description="HOST:PORT of /healthz, /readyz, /metrics.")
    events_replicas: int = Field(
        1, ge=1, le=5, description="How many servers of a NATS cluster keep the events."
    )
    strategy: Strategy = Field(Strategy.SPREAD, description="Placement: spread, binpack, random.")
    default_address_pools: str = Field(
        "", description="Pools of user networks, as 10.200.0.0/16:24,…; empty: dockerd's."
    )
    require_token: bool = Field(False, description="Whether a new node needs a join token.")
    ingress: bool = Field(
        True, description="Whether published ports also answer at the gateway's address."
    )
    ingress_host: str = Field("", description="The address they answer at; empty: all.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of log lines.")
