"""The image store's tables. Rows stay inside this package."""

from sqlalchemy import BigInteger, Boolean, Float, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_DIGEST = String(160)
_REFERENCE = String(640)


class Table(DeclarativeBase):
    """Parent of every table of the image store."""


class ImageRow(Table):
    """An image; `record` is its `ImageRecord` as JSON, without its names."""

    __tablename__ = "images"

    id: Mapped[str] = mapped_column(_DIGEST, primary_key=True)
    record: Mapped[str] = mapped_column(Text)
    parent: Mapped[str] = mapped_column(_DIGEST, default="", index=True)
    manifest_digest: Mapped[str] = mapped_column(_DIGEST)
    manifest_media_type: Mapped[str] = mapped_column(String(160))
    last_tagged: Mapped[float] = mapped_column(Float, default=0.0)


class ReferenceRow(Table):
    """A name of an image in normal form: `repository:tag` or `repository@digest`."""

    __tablename__ = "image_references"

    reference: Mapped[str] = mapped_column(_REFERENCE, primary_key=True)
    repository: Mapped[str] = mapped_column(String(320), index=True)
    image_id: Mapped[str] = mapped_column(_DIGEST, index=True)
    is_digest: Mapped[bool] = mapped_column(Boolean)


class ImageBlobRow(Table):
    """A blob that an image holds: its configuration, layers, manifests and indexes."""

    __tablename__ = "image_blobs"

    image_id: Mapped[str] = mapped_column(_DIGEST, primary_key=True)
    digest: Mapped[str] = mapped_column(_DIGEST, primary_key=True)
    media_type: Mapped[str] = mapped_column(String(160))

    __table_args__ = (Index("image_blobs_by_digest", "digest"),)


class LayerBlobRow(Table):
    """What a layer's blob unpacks to."""

    __tablename__ = "layer_blobs"

    digest: Mapped[str] = mapped_column(_DIGEST, primary_key=True)
    diff_id: Mapped[str] = mapped_column(_DIGEST, index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    tar_bytes: Mapped[int] = mapped_column(BigInteger)
    diff_bytes: Mapped[int] = mapped_column(BigInteger)


class LeaseRow(Table):
    """A blob that somebody is about to use: it stays until then (epoch seconds)."""

    __tablename__ = "blob_leases"

    digest: Mapped[str] = mapped_column(_DIGEST, primary_key=True)
    until: Mapped[float] = mapped_column(Float)


class LockRow(Table):
    """The row `blobs` is taken by whoever adds or deletes blobs or what refers to them."""

    __tablename__ = "image_store_locks"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64), default="")
