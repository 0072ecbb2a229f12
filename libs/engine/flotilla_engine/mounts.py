"""``MountPoint``: a mount in force, as inspect and the list show it."""

from pydantic import Field

from flotilla_engine.model import EngineModel


class MountPoint(EngineModel):
    """``MountPoint``: bind, volume, tmpfs or image, as it is in the container."""

    type: str = ""
    name: str = ""
    source: str = ""
    destination: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = Field(default=True, alias="RW")
    propagation: str = ""
