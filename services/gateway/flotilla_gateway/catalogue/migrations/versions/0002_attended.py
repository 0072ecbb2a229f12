"""When a container that is being made was last attended to by its gateway."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("attended_at", sa.Float(), nullable=False, server_default="0")
    op.add_column("containers", column)


def downgrade() -> None:
    op.drop_column("containers", "attended_at")
