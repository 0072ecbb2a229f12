"""A container's networks and volumes as events tell of them: joined with a run, left at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flotilla_runtime_agent.containers.container import Container

_WITHOUT_ADDRESS = {"host": "host", "none": "null"}
"""The drivers of the networks that give no address."""


class Joins:
    """What one container has joined."""

    def __init__(self, container: Container) -> None:
        """A container that runs has joined all that it needs."""
        self._container = container
        self._is_joined = container.stored.run is not None

    def joined(self) -> None:
        """Tell of all networks and volumes."""
        self._is_joined = True
        self._network_events("connect")
        for mount in self._container.stored.mounts:
            if mount.type == "volume":
                attributes = {
                    "container": self._container.id,
                    "destination": mount.destination,
                    "driver": mount.driver,
                    "propagation": mount.propagation,
                    "read/write": str(mount.rw).lower(),
                }
                self._container.host.outlet.event("volume", "mount", mount.name, attributes)

    def left(self) -> None:
        """Tell of what had been joined, and forget the addresses that went with it."""
        if self._is_joined:
            self._is_joined = False
            self._network_events("disconnect")
            for mount in self._container.stored.mounts:
                if mount.type == "volume":
                    attributes = {"container": self._container.id, "driver": mount.driver}
                    self._container.host.outlet.event("volume", "unmount", mount.name, attributes)
        self._unwire()

    def _network_events(self, action: str) -> None:
        host = self._container.host
        for name, settings in self._container.record.networks.items():
            kind = _WITHOUT_ADDRESS.get(name) or host.networks.driver_of(settings.network_id)
            attributes = {"container": self._container.id, "name": name, "type": kind}
            host.outlet.event("network", action, settings.network_id, attributes)

    def _unwire(self) -> None:
        record = self._container.record
        record.sandbox_id = record.sandbox_key = ""
        record.ports = {}
        for settings in record.networks.values():
            settings.gateway = settings.ip_address = settings.ipv6_gateway = ""
            settings.ip_prefix_len = settings.global_ipv6_prefix_len = 0
            settings.global_ipv6_address = settings.endpoint_id = ""
            settings.mac_address = ""
