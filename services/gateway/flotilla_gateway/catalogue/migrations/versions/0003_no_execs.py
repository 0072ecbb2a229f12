"""Execs are not kept: the id of one tells its container."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("execs")


def downgrade() -> None:
    op.create_table(
        "execs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column(
            "container_id",
            sa.String(64),
            sa.ForeignKey("containers.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
    )
