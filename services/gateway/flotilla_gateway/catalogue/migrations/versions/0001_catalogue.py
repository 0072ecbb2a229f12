"""The catalogue: nodes, containers, networks, volumes, execs and join tokens."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "containers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("running", sa.Boolean(), nullable=False),
        sa.Column("image_id", sa.String(length=80), nullable=False),
        sa.Column("image", sa.String(length=512), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("nano_cpus", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_index(op.f("ix_containers_created_at"), "containers", ["created_at"], unique=False)
    op.create_index(op.f("ix_containers_node_id"), "containers", ["node_id"], unique=False)
    op.create_table(
        "fleet",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "join_tokens",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "networks",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("driver", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("vni", sa.Integer(), nullable=True),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("pools", sa.JSON(), nullable=False),
        sa.Column("configured", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("vni"),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("addr", sa.String(length=255), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("info", sa.Text(), nullable=False),
        sa.Column("drained", sa.Boolean(), nullable=False),
        sa.Column("joined_at", sa.Float(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "participants",
        sa.Column("network_id", sa.String(length=64), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("applied_revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("network_id", "node_id"),
    )
    op.create_index(op.f("ix_participants_node_id"), "participants", ["node_id"], unique=False)
    op.create_table(
        "tombstones",
        sa.Column("container_id", sa.String(length=64), nullable=False),
        sa.Column("removed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("container_id"),
    )
    op.create_table(
        "volumes",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=True),
        sa.Column("driver", sa.String(length=64), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("anonymous", sa.Boolean(), nullable=False),
        sa.Column("mountpoint", sa.String(length=1024), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index(op.f("ix_volumes_node_id"), "volumes", ["node_id"], unique=False)
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("network_id", sa.String(length=64), nullable=False),
        sa.Column("container_id", sa.String(length=64), nullable=False),
        sa.Column("ipv4", sa.String(length=15), nullable=True),
        sa.Column("ipv6", sa.String(length=39), nullable=True),
        sa.Column("mac", sa.String(length=17), nullable=True),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["container_id"], ["containers.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["network_id"],
            ["networks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("network_id", "container_id"),
        sa.UniqueConstraint("network_id", "ipv4"),
        sa.UniqueConstraint("network_id", "ipv6"),
        sa.UniqueConstraint("network_id", "mac"),
    )
    op.create_index(op.f("ix_endpoints_container_id"), "endpoints", ["container_id"], unique=False)
    op.create_table(
        "execs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("container_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["container_id"], ["containers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_execs_container_id"), "execs", ["container_id"], unique=False)
    op.create_table(
        "mounts",
        sa.Column("container_id", sa.String(length=64), nullable=False),
        sa.Column("volume", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["container_id"], ["containers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("container_id", "volume"),
    )
    op.create_index(op.f("ix_mounts_volume"), "mounts", ["volume"], unique=False)
    op.create_table(
        "ports",
        sa.Column("container_id", sa.String(length=64), nullable=False),
        sa.Column("protocol", sa.String(length=8), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["container_id"], ["containers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("container_id", "protocol", "port", "address"),
    )
    op.create_index(op.f("ix_ports_port"), "ports", ["port"], unique=False)
    fleet = sa.table("fleet", sa.column("key"), sa.column("value"))
    rows = {"id": secrets.token_hex(32), "ipam": "lock of the address pools"}
    op.bulk_insert(fleet, [{"key": key, "value": value} for key, value in rows.items()])


def downgrade() -> None:
    op.drop_table("ports")
    op.drop_table("mounts")
    op.drop_table("execs")
    op.drop_table("endpoints")
    op.drop_table("volumes")
    op.drop_table("tombstones")
    op.drop_table("participants")
    op.drop_table("nodes")
    op.drop_table("networks")
    op.drop_table("join_tokens")
    op.drop_table("fleet")
    op.drop_table("containers")
