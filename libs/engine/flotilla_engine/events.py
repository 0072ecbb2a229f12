"""``EventMessage`` of the Engine API; the fields of old versions are added by the renderer."""

from pydantic import Field

from flotilla_engine.model import EngineModel, Int64


class Actor(EngineModel):
    """``EventActor``: what the event is about."""

    id: str = Field(default="", alias="ID")
    attributes: dict[str, str] = Field(default_factory=dict)


class EventMessage(EngineModel):
    """``EventMessage``."""

    type: str = ""
    action: str = ""
    actor: Actor = Field(default_factory=Actor)
    scope: str = Field(default="local", alias="scope")
    time: Int64 = Field(default=0, alias="time")
    time_nano: Int64 = Field(default=0, alias="timeNano")
