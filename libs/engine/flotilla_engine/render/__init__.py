"""Records as a client of some API version sees them; what dockerd leaves null stays null."""

from flotilla_engine.render.configs import config_fields, host_config_fields
from flotilla_engine.render.containers import (
    container_summary,
    exec_inspect,
    inspect_container,
    node_fields,
    status_text,
    summary_status,
)
from flotilla_engine.render.events import event_fields
from flotilla_engine.render.images import image_inspect, image_summary
from flotilla_engine.render.networks import endpoint_fields, network_fields
from flotilla_engine.render.volumes import volume_fields

__all__ = [
    "config_fields",
    "container_summary",
    "endpoint_fields",
    "event_fields",
    "exec_inspect",
    "host_config_fields",
    "image_inspect",
    "image_summary",
    "inspect_container",
    "network_fields",
    "node_fields",
    "status_text",
    "summary_status",
    "volume_fields",
]
