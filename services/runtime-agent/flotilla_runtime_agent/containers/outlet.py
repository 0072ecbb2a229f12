"""Where containers tell what happens to them; the bus is behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from flotilla_engine.records import ContainerRecord


class Outlet(Protocol):
    """Takes reports; never blocks, keeps what cannot be sent yet."""

    def changed(self, record: ContainerRecord) -> None:
        """The container is now so."""
        ...

    def removed(self, container_id: str, revision: int, volumes: Sequence[str] = ()) -> None:
        """The container is gone, and these anonymous volumes with it."""
        ...

    def event(self, kind: str, action: str, subject: str, attributes: Mapping[str, str]) -> None:
        """Something happened: type, action, id and attributes of an Engine API event."""
        ...
