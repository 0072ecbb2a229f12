"""The image store's settings: `FLOTILLA_IMAGE_STORE_*`, flags, a file, or their defaults."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from flotilla_server.settings import Settings


class ImageStoreSettings(Settings):
    """Everything that operators may set of an image store."""

    nats_url: str = Field("nats://127.0.0.1:4222", description="NATS servers, by comma.")
    nats_credentials: Path | None = Field(
        None, description="JSON file with `user` and `password` for NATS."
    )
    data_dir: Path = Field(
        Path("/var/lib/flotilla/image-store"), description="Folder of blobs and spooled events."
    )
    database_url: str = Field(
        "", description="sqlite:////PATH or postgresql://…; by default a file in the data folder."
    )
    listen: str = Field("127.0.0.1:5000", description="HOST:PORT where agents and tools get blobs.")
    tls_cert: Path | None = Field(None, description="PEM file: certificate; makes it https.")
    tls_key: Path | None = Field(None, description="PEM file: private key of the certificate.")
    token_file: Path | None = Field(
        None, description="File with the secret that clients show; without it everybody may read."
    )
    health_listen: str = Field("", description="HOST:PORT of /healthz, /readyz, /metrics.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of log lines.")
