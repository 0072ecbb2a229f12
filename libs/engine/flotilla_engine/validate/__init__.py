"""dockerd's checks of what clients ask for, with dockerd's texts; warnings are returned.

What depends on the host (CPUs, runtimes, kernel) is in ``validate.node``.
"""

from flotilla_engine.validate.create import check_create, check_name, check_rename
from flotilla_engine.validate.endpoints import check_endpoint, move_mac_address
from flotilla_engine.validate.execs import check_exec
from flotilla_engine.validate.node import check_on_node
from flotilla_engine.validate.updates import check_update
from flotilla_engine.validate.volumes import check_driver, check_volume

__all__ = [
    "check_create",
    "check_driver",
    "check_endpoint",
    "check_exec",
    "check_name",
    "check_on_node",
    "check_rename",
    "check_update",
    "check_volume",
    "move_mac_address",
]
