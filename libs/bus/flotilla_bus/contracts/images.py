"""What the image store answers. References are as the user typed them unless said otherwise."""

from pydantic import Field

from flotilla_bus.methods import Empty, Message, Method, StreamMethod
from flotilla_engine.config import ContainerConfig
from flotilla_engine.records import ImageRecord

SERVICE = "image-store"


class ImageRequest(Message):
    """Names an image by reference, id or unique prefix; platform as ``os/arch[/variant]``."""

    reference: str
    platform: str = ""


class ImageAnswer(Message):
    """The image."""

    image: ImageRecord


class ListRequest(Message):
    """Engine API ``ImageList``; filters parsed from the query."""

    all: bool = False
    filters: dict[str, list[str]] = Field(default_factory=dict)
    shared_size: bool = False


class ListedImage(Message):
    """An image, and the bytes that it shares with others (-1: not asked for)."""

    image: ImageRecord
    shared_size_bytes: int = -1


class ListAnswer(Message):
    """Images, newest first."""

    images: list[ListedImage]


class HistoryEntry(Message):
    """One step of an image's history, newest first (Engine API ``ImageHistory``)."""

    id: str
    created: int  # seconds since the epoch
    created_by: str
    tags: list[str] = Field(default_factory=list)
    size_bytes: int = 0
    comment: str = ""


class HistoryAnswer(Message):
    """All steps."""

    entries: list[HistoryEntry]


class TagRequest(Message):
    """Give the image one more name."""

    source: str
    target: str  # repository[:tag]


class ContainerUse(Message):
    """A container of the fleet that uses an image."""

    container: str
    image_id: str
    running: bool


class RemoveRequest(Message):
    """Untag or delete; ``in_use`` tells which images containers use (the gateway knows)."""

    reference: str
    force: bool = False
    no_prune: bool = False
    in_use: list[ContainerUse] = Field(default_factory=list)


class Deleted(Message):
    """One line of the answer: untagged or deleted."""

    untagged: str = ""
    deleted: str = ""


class RemoveAnswer(Message):
    """What was done, in order, and the images that are gone."""

    deleted: list[Deleted]
    space_reclaimed_bytes: int = 0


class PruneRequest(Message):
    """Engine API ``ImagePrune``."""

    filters: dict[str, list[str]] = Field(default_factory=dict)
    in_use: list[ContainerUse] = Field(default_factory=list)


class UsageAnswer(Message):
    """Disk use of all layers, in bytes, and of the build cache's."""

    layers_size_bytes: int


class SaveRequest(Message):
    """Images to save as one docker archive."""

    references: list[str]
    platform: str = ""


class LoadRequest(Message):
    """A docker archive or OCI layout follows on the stream; progress lines come back."""

    quiet: bool = False
    platform: str = ""


class ImportRequest(Message):
    """A root file system as tar follows on the stream; progress lines come back."""

    repository: str = ""
    tag: str = ""
    message: str = ""
    changes: list[str] = Field(default_factory=list)  # Dockerfile instructions
    platform: str = ""
    source: str = "-"


class CommitRequest(Message):
    """The layer's tar (uncompressed) follows on the stream; a ``ImageAnswer`` line comes back."""

    base: str  # image id
    repository: str = ""
    tag: str = ""
    author: str = ""
    comment: str = ""
    config: ContainerConfig
    container: str = ""
    created_by: str = ""


class PutManifestRequest(Message):
    """Make an image of blobs that are all there (after a pull), and point names at it."""

    manifest_digest: str
    manifest_media_type: str
    manifest: str  # the bytes as text
    tags: list[str] = Field(default_factory=list)  # normalised: docker.io/library/busybox:latest
    repository: str  # normalised
    index_digest: str = ""  # if the manifest was picked from an index
    index_media_type: str = ""
    index: str = ""


class PutManifestAnswer(Message):
    """The image; ``changed`` is false when all of it was there already."""

    image: ImageRecord
    changed: bool


class BlobsRequest(Message):
    """Digests that are looked for."""

    digests: list[str]


class BlobsAnswer(Message):
    """Those of the asked-for that are not here."""

    missing: list[str]


class ManifestRequest(Message):
    """Asks for what to push: the manifest as it is kept for that reference."""

    reference: str


class ManifestAnswer(Message):
    """A manifest's bytes as text, with the image."""

    digest: str
    media_type: str
    manifest: str
    image: ImageRecord


RESOLVE = Method(SERVICE, "images.resolve", ImageRequest, ImageAnswer)
LIST = Method(SERVICE, "images.list", ListRequest, ListAnswer)
HISTORY = Method(SERVICE, "images.history", ImageRequest, HistoryAnswer)
TAG = Method(SERVICE, "images.tag", TagRequest, Empty, mutating=True)
REMOVE = Method(SERVICE, "images.remove", RemoveRequest, RemoveAnswer, mutating=True)
PRUNE = Method(SERVICE, "images.prune", PruneRequest, RemoveAnswer, mutating=True)
USAGE = Method(SERVICE, "images.usage", Empty, UsageAnswer)
PUT_MANIFEST = Method(SERVICE, "images.put", PutManifestRequest, PutManifestAnswer, mutating=True)
MANIFEST = Method(SERVICE, "images.manifest", ManifestRequest, ManifestAnswer)
MISSING_BLOBS = Method(SERVICE, "blobs.missing", BlobsRequest, BlobsAnswer)

SAVE = StreamMethod(SERVICE, "images.save", SaveRequest, Empty)
LOAD = StreamMethod(SERVICE, "images.load", LoadRequest, Empty)
IMPORT = StreamMethod(SERVICE, "images.import", ImportRequest, Empty)
COMMIT = StreamMethod(SERVICE, "images.commit", CommitRequest, Empty)
