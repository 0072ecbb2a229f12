"""Routes of the Docker Engine API, one module per group: HTTP in, one domain call, HTTP out."""

from flotilla_gateway.routes import (
    absent,
    archive,
    attach_ws,
    build,
    containers,
    containers_io,
    disk_usage,
    exec,
    image_transfers,
    images,
    networks,
    system,
    volumes,
)

ROUTERS = (
    containers.router,
    containers_io.router,
    exec.router,
    archive.router,
    attach_ws.router,
    image_transfers.router,
    images.router,
    build.router,
    networks.router,
    volumes.router,
    system.router,
    disk_usage.router,
    absent.listing,
    absent.router,
)
"""In the order in which paths are tried; the last takes whatever is left."""
