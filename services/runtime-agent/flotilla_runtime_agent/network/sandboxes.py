"""What the network knows of each running container, on disk: enough to make it all again."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from flotilla_engine.records import EndpointRecord

M = TypeVar("M", bound=BaseModel)


class Wired(BaseModel):
    """A network that a container is wired into."""

    endpoint: EndpointRecord
    driver: str = "bridge"
    interface: str = ""  # eth0
    host_interface: str = ""
    bridge: str = ""
    mac_address: str = ""
    addresses: list[str] = Field(default_factory=list)  # 172.17.0.2/16
    gateways: list[str] = Field(default_factory=list)
    internal: bool = False


class Published(BaseModel):
    """A port of the container that the host answers for."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int


class SandboxRecord(BaseModel):
    """A container's sandbox as wired."""

    container_id: str
    sandbox_id: str
    key: str
    name: str = ""
    hostname: str = ""
    exposed_ports: list[str] = Field(default_factory=list)
    wired: list[Wired] = Field(default_factory=list)
    published: list[Published] = Field(default_factory=list)
    forwarders: list[str] = Field(default_factory=list)  # that the embedded DNS server asks
    forwards_inside: bool = False  # they were given by the user, and are asked from the sandbox
    ndots_set: bool = False  # by the user: single words are not asked for outside


class SandboxStore:
    """One JSON file per sandbox. Without fsync: none of it outlives the host's uptime."""

    def __init__(self, folder: Path) -> None:
        """Keep the files in a folder, which is made."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, record: SandboxRecord) -> None:
        """Write the record, whole or not at all."""
        write_json(self._folder / f"{record.container_id}.json", record)

    def remove(self, container_id: str) -> None:
        """Remove the record; safe to repeat."""
        (self._folder / f"{container_id}.json").unlink(missing_ok=True)

    def all(self) -> Iterator[SandboxRecord]:
        """Yield all records; unreadable ones are skipped."""
        for path in sorted(self._folder.glob("*.json")):
            record = read_json(path, SandboxRecord)
            if record is not None:
                yield record


def write_json(path: Path, model: BaseModel) -> None:
    """Write a model, atomically as others see it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(model.model_dump_json(by_alias=True))
    temporary.replace(path)


def read_json(path: Path, model: type[M]) -> M | None:
    """Return the model in a file; None if there is none that can be read."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValueError, ValidationError):
        return None
