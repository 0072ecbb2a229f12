"""Indexes that answer what lists and placement ask, without a look at the containers' records."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_LISTED = ["id", "name", "node_id", "revision"]
_LOADS = ["node_id", "running", "memory_bytes", "nano_cpus"]


def upgrade() -> None:
    listed = sa.text("record IS NOT NULL")
    op.create_index(
        "ix_containers_listed",
        "containers",
        [sa.text("created_at DESC"), *_LISTED],
        sqlite_where=listed,
        postgresql_where=listed,
    )
    op.create_index("ix_containers_loads", "containers", _LOADS)


def downgrade() -> None:
    op.drop_index("ix_containers_loads", "containers")
    op.drop_index("ix_containers_listed", "containers")
