"""The rows of a container: what is written of it, within a transaction of the caller's."""

import re
import time
from collections.abc import Iterable, Sequence

from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from flotilla_core.ids import new_id
from flotilla_engine.networking import EndpointSettings
from flotilla_engine.records import ContainerChange, ContainerRecord
from flotilla_gateway.catalogue.entries import NewContainer, Outcome
from flotilla_gateway.catalogue.tables import (
    ContainerRow,
    EndpointRow,
    MountRow,
    NetworkRow,
    PortRow,
    Table,
    TombstoneRow,
    VolumeRow,
)

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_COLUMNS = ("state", "image_id", "image", "memory_bytes", "nano_cpus", "record")
_CHANGE = (
    update(ContainerRow)
    .where(ContainerRow.id == bindparam("wanted"))
    .values({name: bindparam(f"new_{name}") for name in (*_COLUMNS, "revision", "running")})
)
_INSERT = insert(ContainerRow)
_BURY = insert(TombstoneRow)
DELETE = delete(ContainerRow).where(ContainerRow.id == bindparam("wanted"))
_NETWORKS = select(EndpointRow.network_id).where(EndpointRow.container_id == bindparam("wanted"))


async def remove_row(connection: AsyncConnection, container_id: str, *, running: bool) -> Outcome:
    """Remove a container's row, with all that hangs on it."""
    networks = await networks_of(connection, container_id)
    await connection.execute(DELETE, {"wanted": container_id})
    await bump(connection, networks)
    return Outcome(True, running, removed=True, networks=networks)


async def replace_record(
    connection: AsyncConnection,
    change: ContainerChange,
    record: ContainerRecord,
    known: Row[int, bool],
) -> Outcome:
    """Write a container's newest record."""
    revision, was_running = known
    running = _is_running(record)
    values = _columns(record) | {"revision": change.revision, "running": running}
    await connection.execute(
        _CHANGE, {"wanted": change.id} | {f"new_{name}": one for name, one in values.items()}
    )
    if revision == 0:
        await _note_volumes(connection, record.node_id, record)
    if running == was_running:
        return Outcome(True)
    networks = await networks_of(connection, change.id)
    await bump(connection, networks)
    return Outcome(True, running_changed=True, networks=networks)


async def insert_container(connection: AsyncConnection, new: NewContainer) -> None:
    """Write a container that is to be made, with what it claims."""
    await connection.execute(
        _INSERT,
        {
            "id": new.id,
            "name": new.name,
            "node_id": new.node_id,
            "created_at": new.created_at,
            "attended_at": time.time(),
            "state": "created",
            "running": False,
            "image_id": new.image_id,
            "image": new.image,
            "labels": new.labels,
            "memory_bytes": new.memory_bytes,
            "nano_cpus": new.nano_cpus,
            "revision": 0,
            "record": None,
        },
    )
    await insert_all(
        connection,
        PortRow,
        [
            {"container_id": new.id, "protocol": claim.protocol, "port": claim.port}
            | {"address": claim.address}
            for claim in set(new.ports)
        ],
    )
    await insert_all(
        connection, MountRow, [{"container_id": new.id, "volume": name} for name in new.volumes]
    )
    await insert_all(
        connection,
        EndpointRow,
        [endpoint_values(network, new.id, asked) for network, asked in new.networks.items()],
    )


async def insert_all(
    connection: AsyncConnection, table: type[Table], rows: list[dict[str, object]]
) -> None:
    """Insert rows, if there are any."""
    if rows:
        await connection.execute(insert(table), rows)


def endpoint_values(
    network_id: str, container_id: str, asked: EndpointSettings
) -> dict[str, object]:
    """Return the columns of an endpoint without a lease."""
    return {
        "id": new_id(),
        "network_id": network_id,
        "container_id": container_id,
        "ipv4": None,
        "ipv6": None,
        "mac": None,
        "settings": asked.model_dump_json(exclude_defaults=True),
    }


async def bump(connection: AsyncConnection, networks: Iterable[str]) -> None:
    """Give networks their next revision, so that their nodes are told of the change."""
    if identifiers := sorted(networks):
        await connection.execute(
            update(NetworkRow)
            .where(NetworkRow.id.in_(identifiers))
            .values(revision=NetworkRow.revision + 1)
        )


async def networks_of(connection: AsyncConnection, container_id: str) -> Sequence[str]:
    """Return the user networks of a container."""
    return (await connection.scalars(_NETWORKS, {"wanted": container_id})).all()


async def bury(connection: AsyncConnection, container_id: str) -> None:
    """Remember that a container is gone for good."""
    await connection.execute(_BURY, {"container_id": container_id, "removed_at": time.time()})


async def _note_volumes(connection: AsyncConnection, node_id: str, record: ContainerRecord) -> None:
    """Note the volumes that a new container uses, anonymous ones of the node's making as well."""
    mounts = {mount.name: mount for mount in record.mounts if mount.type == "volume" and mount.name}
    if not mounts:
        return
    rows = await connection.execute(
        select(VolumeRow.name, VolumeRow.mountpoint).where(VolumeRow.name.in_(mounts))
    )
    known = {row.name: row.mountpoint for row in rows}
    for name in [name for name, mountpoint in known.items() if not mountpoint]:
        await connection.execute(
            update(VolumeRow)
            .where(VolumeRow.name == name, VolumeRow.node_id == node_id)
            .values(mountpoint=mounts[name].source)
        )
    used = set(
        await connection.scalars(select(MountRow.volume).where(MountRow.container_id == record.id))
    )
    await insert_all(
        connection,
        VolumeRow,
        [
            {
                "name": name,
                "node_id": node_id,
                "driver": mounts[name].driver or "local",
                "options": {},
                "labels": {ANONYMOUS_LABEL: ""} if _ANONYMOUS.fullmatch(name) else {},
                "created_at": record.created.timestamp(),
                "anonymous": _ANONYMOUS.fullmatch(name) is not None,
                "mountpoint": mounts[name].source,
            }
            for name in mounts
            if name not in known
        ],
    )
    await insert_all(
        connection,
        MountRow,
        [{"container_id": record.id, "volume": name} for name in mounts if name not in used],
    )


def _is_running(record: ContainerRecord) -> bool:
    return record.state.running or record.state.restarting


def _columns(record: ContainerRecord) -> dict[str, object]:
    """Return the columns that follow a record; the name is the catalogue's own."""
    return {
        "state": record.state.status,
        "image_id": record.image_id,
        "image": record.image,
        "memory_bytes": record.host_config.memory_reservation or record.host_config.memory,
        "nano_cpus": record.host_config.nano_cpus,
        "record": record.model_dump_json(exclude_defaults=True),
    }
