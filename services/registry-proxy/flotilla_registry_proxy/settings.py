"""The registry proxy's settings: `FLOTILLA_REGISTRY_PROXY_*`, flags, a file, or their defaults."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from flotilla_server.settings import Settings


class RegistryProxySettings(Settings):
    """Everything that operators may set of a registry proxy."""

    nats_url: str = Field("nats://127.0.0.1:4222", description="NATS servers, by comma.")
    nats_credentials: Path | None = Field(
        None, description="JSON file with `user` and `password` for NATS."
    )
    data_dir: Path = Field(
        Path("/var/lib/flotilla/registry-proxy"), description="Folder of spooled events."
    )
    image_store_url: str = Field(
        "http://127.0.0.1:5000", description="The image store's HTTP endpoint."
    )
    image_store_token_file: Path | None = Field(
        None, description="File with the secret that the image store wants."
    )
    image_store_ca: Path | None = Field(
        None, description="PEM file: authorities of the image store's certificate."
    )
    registries: Path | None = Field(
        None,
        description="JSON file with `insecure-registries` and `registry-mirrors`, as daemon.json.",
    )
    insecure_registries: list[str] = Field(
        default_factory=list, description="More insecure registries: HOST[:PORT] or CIDR."
    )
    registry_mirrors: list[str] = Field(
        default_factory=list, description="More mirrors of Docker Hub: URLs."
    )
    max_concurrent_downloads: int = Field(3, ge=1, description="Layers of a pull at a time.")
    max_concurrent_uploads: int = Field(5, ge=1, description="Layers of a push at a time.")
    health_listen: str = Field("", description="HOST:PORT of /healthz, /readyz, /metrics.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of log lines.")
