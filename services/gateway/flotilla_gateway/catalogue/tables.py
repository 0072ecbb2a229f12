"""The catalogue's tables. Rows stay inside this package; callers get domain objects."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Boolean, Float, ForeignKey, Integer, String, Text
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]


class Table(DeclarativeBase):
    """Parent of every table of the catalogue."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {Json: JSON}


class FleetRow(Table):
    """One row per fleet-wide value; the row `ipam` is also the lock of address pools."""

    __tablename__ = "fleet"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(256))


class NodeRow(Table):
    """A host that has joined; `last_seen` is epoch seconds by the gateway's clock."""

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    addr: Mapped[str] = mapped_column(String(255))
    labels: Mapped[Json]
    info: Mapped[str] = mapped_column(Text)
    drained: Mapped[bool] = mapped_column(Boolean, default=False)
    joined_at: Mapped[float] = mapped_column(Float)
    last_seen: Mapped[float] = mapped_column(Float)


class ContainerRow(Table):
    """A container of the fleet; `record` is its node's newest answer, null while being made.

    `attended_at` is written now and then by the gateway that makes it, in epoch seconds.
    `running` is true from the catalogue's first sight of a running state to the first of another.
    """

    __tablename__ = "containers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    node_id: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[float] = mapped_column(Float, index=True)
    attended_at: Mapped[float] = mapped_column(Float, default=0.0)
    state: Mapped[str] = mapped_column(String(16))
    running: Mapped[bool] = mapped_column(Boolean, default=False)
    image_id: Mapped[str] = mapped_column(String(80), default="")
    image: Mapped[str] = mapped_column(String(512), default="")
    labels: Mapped[Json]
    memory_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    nano_cpus: Mapped[int] = mapped_column(BigInteger, default=0)
    revision: Mapped[int] = mapped_column(BigInteger, default=0)
    record: Mapped[str | None] = mapped_column(Text, default=None)


class TombstoneRow(Table):
    """A container that is gone for good: a node that still has it must let it go."""

    __tablename__ = "tombstones"

    container_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    removed_at: Mapped[float] = mapped_column(Float)


class PortRow(Table):
    """A fixed host port that a container asks for on its node, running or not."""

    __tablename__ = "ports"

    container_id: Mapped[str] = mapped_column(
        ForeignKey("containers.id", ondelete="CASCADE"), primary_key=True
    )
    protocol: Mapped[str] = mapped_column(String(8), primary_key=True)
    port: Mapped[int] = mapped_column(Integer, primary_key=True, index=True)
    address: Mapped[str] = mapped_column(String(64), primary_key=True)


class NetworkRow(Table):
    """A user network; bridge, host and none are on every node and not kept here.

    `spec` is the network as clients see it, `pools` what addresses are leased from.
    """

    __tablename__ = "networks"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    driver: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[float] = mapped_column(Float)
    vni: Mapped[int | None] = mapped_column(Integer, unique=True)
    spec: Mapped[str] = mapped_column(Text)
    pools: Mapped[Json]
    configured: Mapped[bool] = mapped_column(Boolean, default=False)
    revision: Mapped[int] = mapped_column(BigInteger, default=1)


class EndpointRow(Table):
    """A container's place in a user network, with the addresses leased to it while it runs.

    A stopped container keeps its lease until another one needs the address.
    """

    __tablename__ = "endpoints"
    __table_args__ = (
        Unique("network_id", "container_id"),
        Unique("network_id", "ipv4"),
        Unique("network_id", "ipv6"),
        Unique("network_id", "mac"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    network_id: Mapped[str] = mapped_column(ForeignKey("networks.id"))
    container_id: Mapped[str] = mapped_column(
        ForeignKey("containers.id", ondelete="CASCADE"), index=True
    )
    ipv4: Mapped[str | None] = mapped_column(String(15))
    ipv6: Mapped[str | None] = mapped_column(String(39))
    mac: Mapped[str | None] = mapped_column(String(17))
    settings: Mapped[str] = mapped_column(Text)


class ParticipantRow(Table):
    """A node that has (or is still to drop) its part of a network, and what it knows of it."""

    __tablename__ = "participants"

    network_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    node_id: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    applied_revision: Mapped[int] = mapped_column(BigInteger, default=0)


class VolumeRow(Table):
    """A volume; `node_id` is null until its first use binds it to a home."""

    __tablename__ = "volumes"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    node_id: Mapped[str | None] = mapped_column(String(64), index=True)
    driver: Mapped[str] = mapped_column(String(64))
    options: Mapped[Json]
    labels: Mapped[Json]
    created_at: Mapped[float] = mapped_column(Float)
    anonymous: Mapped[bool] = mapped_column(Boolean, default=False)
    mountpoint: Mapped[str] = mapped_column(String(1024), default="")


class MountRow(Table):
    """A volume that a container uses."""

    __tablename__ = "mounts"

    container_id: Mapped[str] = mapped_column(
        ForeignKey("containers.id", ondelete="CASCADE"), primary_key=True
    )
    volume: Mapped[str] = mapped_column(String(255), primary_key=True, index=True)


class JoinTokenRow(Table):
    """A secret (kept as its hash) with which new nodes may join."""

    __tablename__ = "join_tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    secret_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float | None] = mapped_column(Float)
