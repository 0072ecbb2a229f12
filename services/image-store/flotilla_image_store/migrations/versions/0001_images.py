"""Images, names, blobs that images hold, layers, leases.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DIGEST = sa.String(160)


def upgrade() -> None:
    if sa.inspect(op.get_bind()).has_table("images"):
        return  # made when the version was noted in a table that other services note theirs in
    op.create_table(
        "images",
        sa.Column("id", _DIGEST, primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("parent", _DIGEST, nullable=False, index=True),
        sa.Column("manifest_digest", _DIGEST, nullable=False),
        sa.Column("manifest_media_type", sa.String(160), nullable=False),
        sa.Column("last_tagged", sa.Float, nullable=False, server_default="0"),
    )
    op.create_table(
        "image_references",
        sa.Column("reference", sa.String(640), primary_key=True),
        sa.Column("repository", sa.String(320), nullable=False, index=True),
        sa.Column("image_id", _DIGEST, nullable=False, index=True),
        sa.Column("is_digest", sa.Boolean, nullable=False),
    )
    op.create_table(
        "image_blobs",
        sa.Column("image_id", _DIGEST, primary_key=True),
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("media_type", sa.String(160), nullable=False),
    )
    op.create_index("image_blobs_by_digest", "image_blobs", ["digest"])
    op.create_table(
        "layer_blobs",
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("diff_id", _DIGEST, nullable=False, index=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("tar_bytes", sa.BigInteger, nullable=False),
        sa.Column("diff_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "blob_leases",
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_table(
        "image_store_locks",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
    )
    op.bulk_insert(
        sa.table("image_store_locks", sa.column("name"), sa.column("holder")),
        [{"name": "blobs", "holder": ""}],
    )


def downgrade() -> None:
    for table in (
        "image_store_locks",
        "blob_leases",
        "layer_blobs",
        "image_blobs",
        "image_references",
        "images",
    ):
        op.drop_table(table)
