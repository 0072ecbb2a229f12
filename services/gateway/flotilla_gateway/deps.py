"""What handlers get: the fleet, the bus, and how the client asked. The only place with casts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from flotilla_bus import Bus
from flotilla_engine.versions import MAXIMUM, Version
from flotilla_gateway.domain.events import EventSink
from flotilla_gateway.domain.fleet import Fleet
from flotilla_gateway.domain.views import FLEET, View
from flotilla_gateway.summaries import Summaries


@dataclass(frozen=True)
class Ports:
    """All that the application needs; made in `app.py`, kept as `app.state.ports`."""

    fleet: Fleet
    bus: Bus
    events: EventSink
    summaries: Summaries = field(default_factory=Summaries)


def _ports(connection: HTTPConnection) -> Ports:
    return cast("Ports", connection.app.state.ports)


async def _fleet(connection: HTTPConnection) -> Fleet:
    return _ports(connection).fleet


async def _bus(connection: HTTPConnection) -> Bus:
    return _ports(connection).bus


async def _events(connection: HTTPConnection) -> EventSink:
    return _ports(connection).events


async def _summaries(connection: HTTPConnection) -> Summaries:
    return _ports(connection).summaries


async def _view(connection: HTTPConnection) -> View:
    """Return the view that the path names. Raises: NotFoundError for an unknown node."""
    name = cast("str | None", connection.scope.get("flotilla.node"))
    if name is None:
        return FLEET
    node = await _ports(connection).fleet.nodes.find(name)
    return View(node.id)


async def _version(connection: HTTPConnection) -> Version:
    return cast("Version", connection.scope.get("flotilla.api_version", MAXIMUM))


FleetDep = Annotated[Fleet, Depends(_fleet)]
BusDep = Annotated[Bus, Depends(_bus)]
EventsDep = Annotated[EventSink, Depends(_events)]
SummariesDep = Annotated[Summaries, Depends(_summaries)]
ViewDep = Annotated[View, Depends(_view)]
VersionDep = Annotated[Version, Depends(_version)]
