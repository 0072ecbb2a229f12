"""What a runtime agent answers: everything that happens on one node.

All methods go to one node (``bus.call(METHOD, request, node=node_id)``). ``container`` is always
a full id. Errors carry dockerd's texts. Answers that hold a record are as new as the change.
"""

from pydantic import Field

from flotilla_bus.methods import Empty, Message, Method, StreamMethod
from flotilla_engine.config import ContainerConfig
from flotilla_engine.exec import ExecConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.records import (
    ContainerRecord,
    ContainerSize,
    EndpointRecord,
    ExecRecord,
    ImageRecord,
    NetworkState,
    NodeInfo,
    VolumeRecord,
    VolumeUsage,
)
from flotilla_engine.updates import UpdateConfig

SERVICE = "agent"


class ContainerRequest(Message):
    """Names a container."""

    container: str


class CreateRequest(Message):
    """``config`` is already merged with the image's; volumes exist in the catalogue."""

    id: str
    name: str
    image: ImageRecord
    image_reference: str
    config: ContainerConfig
    host_config: HostConfig
    endpoints: list[EndpointRecord] = Field(default_factory=list)
    networks: list[NetworkState] = Field(default_factory=list)  # of the endpoints; user networks
    volumes: list[VolumeRecord] = Field(default_factory=list)  # named and anonymous, by mounts
    volumes_from: list[str] = Field(default_factory=list)  # as in the host config, with full ids
    image_mounts: dict[str, ImageRecord] = Field(default_factory=dict)  # by Mount.Source


class RecordAnswer(Message):
    """The container after the change."""

    record: ContainerRecord
    warnings: list[str] = Field(default_factory=list)


class StartRequest(ContainerRequest):
    """Start; ``detach_keys`` override the default ones of attached clients.

    ``endpoints`` (addresses leased now) replace the container's own where given; ``networks``
    are to be applied first. A container without user networks comes with neither.
    """

    detach_keys: str = ""
    checkpoint: str = ""
    endpoints: list[EndpointRecord] | None = None
    networks: list[NetworkState] = Field(default_factory=list)


class StopRequest(ContainerRequest):
    """Stop or restart; None: the container's own setting."""

    signal: str | None = None
    timeout_s: int | None = None  # -1 waits for ever


class KillRequest(ContainerRequest):
    """Send a signal (name or number); the reference as typed is used in error texts."""

    signal: str = "KILL"
    reference: str = ""


class RenameRequest(ContainerRequest):
    """The catalogue has reserved the new name already."""

    name: str


class UpdateRequest(ContainerRequest):
    """Change resources and the restart policy."""

    update: UpdateConfig


class RemoveRequest(ContainerRequest):
    """Remove; ``force`` kills first. ``volumes`` removes the anonymous volumes too."""

    force: bool = False
    volumes: bool = False
    link: bool = False
    reference: str = ""  # as typed, for error texts


class RemoveAnswer(Message):
    """What has gone; the volumes are removed on this node already."""

    revision: int
    volumes: list[str] = Field(default_factory=list)


class ResizeRequest(Message):
    """Terminal size in characters; of a container, or of an exec."""

    container: str
    exec_id: str = ""
    height: int
    width: int


class TopRequest(ContainerRequest):
    """``ps_args`` as in the Engine API; empty: ``-ef``."""

    ps_args: str = ""


class TopAnswer(Message):
    """Table of processes."""

    titles: list[str]
    processes: list[list[str]]


class Change(Message):
    """One changed path: kind 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int


class ChangesAnswer(Message):
    """All changed paths, sorted."""

    changes: list[Change]


class SizesRequest(Message):
    """Containers of this node."""

    containers: list[str]


class SizesAnswer(Message):
    """Sizes by container id; containers that are gone are left out."""

    sizes: dict[str, ContainerSize]


class WaitRequest(ContainerRequest):
    """condition: not-running, next-exit or removed."""

    condition: str = "not-running"


class WaitOutcome(Message):
    """The one JSON document that a wait stream carries, at the end."""

    status_code: int
    error: str = ""


class AttachRequest(ContainerRequest):
    """Engine API ``ContainerAttach``; ``mux``: frame stdout and stderr (never with a terminal)."""

    stream: bool = False
    logs: bool = False
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    detach_keys: str = ""
    mux: bool = True


class StreamAnswer(Message):
    """How the stream that follows is to be announced."""

    tty: bool = False


class LogsRequest(ContainerRequest):
    """Engine API ``ContainerLogs``; times are seconds since the epoch with a fraction."""

    follow: bool = False
    stdout: bool = True
    stderr: bool = True
    since_ns: int = 0
    until_ns: int = 0
    timestamps: bool = False
    tail: int = -1  # all
    details: bool = False


class StatsRequest(ContainerRequest):
    """``stream``: one JSON line a second; else one line, after two samples unless one_shot."""

    stream: bool = True
    one_shot: bool = False


class ArchiveRequest(ContainerRequest):
    """A path in a container; ``reference`` is what the client calls the container."""

    path: str
    reference: str = ""


class ArchivePutRequest(ArchiveRequest):
    """Extract the tar stream (plain, gzip, bzip2, xz or zstd) into a folder of the container."""

    no_overwrite_dir_non_dir: bool = False
    copy_uid_gid: bool = False


class PathStat(Message):
    """Go's view of a path (header ``X-Docker-Container-Path-Stat``)."""

    name: str
    size: int
    mode: int  # Go's os.FileMode bits
    mtime: str  # RFC 3339
    link_target: str = ""


class CommitRequest(ContainerRequest):
    """Send the writable layer to the image store's upload; the answer names the blob."""

    pause: bool = True


class CommitAnswer(Message):
    """The layer made of the container's changes, as a tar stream follows (uncompressed)."""

    record: ContainerRecord
    image: ImageRecord


class ExecCreateRequest(ContainerRequest):
    """``exec_id`` was made by the gateway, 64 hex."""

    exec_id: str
    config: ExecConfig


class ExecRequest(Message):
    """Names an exec."""

    container: str
    exec_id: str


class ExecStartRequest(ExecRequest):
    """Start; attached ones are streams."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None  # height, width
    mux: bool = True
    detach_keys: str = ""


class ExecAnswer(Message):
    """The exec as it is."""

    record: ExecRecord


class ConnectRequest(ContainerRequest):
    """Join a network (running or stopped container)."""

    endpoint: EndpointRecord
    network: NetworkState | None = None  # None for the node's default networks


class DisconnectRequest(ContainerRequest):
    """Leave a network."""

    network_id: str
    network_name: str
    force: bool = False


class NetworkRequest(Message):
    """Names a network by its full id."""

    network_id: str


class VolumeRequest(Message):
    """Names a volume."""

    name: str
    force: bool = False


class VolumeAnswer(Message):
    """A volume as it is on the node, and owner and mode of its root."""

    volume: VolumeRecord
    uid: int = 0
    gid: int = 0
    mode: int = 0o755


class VolumeList(Message):
    """Volumes of this node."""

    volumes: list[VolumeRecord]


class NamesRequest(Message):
    """Names of volumes; empty: all."""

    names: list[str] = Field(default_factory=list)


class UsageAnswer(Message):
    """Use of each volume."""

    usage: list[VolumeUsage]


class ImageRequest(Message):
    """An image whose layers are to be fetched."""

    image: ImageRecord


class KeepImages(Message):
    """The images that exist; layers of others may go once no container uses them."""

    images: list[ImageRecord]


class ReclaimedAnswer(Message):
    """Bytes freed."""

    bytes: int


class InfoAnswer(Message):
    """The node now."""

    info: NodeInfo


INFO = Method(SERVICE, "info", Empty, InfoAnswer)

CREATE = Method(SERVICE, "container.create", CreateRequest, RecordAnswer, mutating=True)
START = Method(SERVICE, "container.start", StartRequest, RecordAnswer, mutating=True)
STOP = Method(SERVICE, "container.stop", StopRequest, RecordAnswer, mutating=True)
RESTART = Method(SERVICE, "container.restart", StopRequest, RecordAnswer, mutating=True)
KILL = Method(SERVICE, "container.kill", KillRequest, RecordAnswer, mutating=True)
PAUSE = Method(SERVICE, "container.pause", ContainerRequest, RecordAnswer, mutating=True)
UNPAUSE = Method(SERVICE, "container.unpause", ContainerRequest, RecordAnswer, mutating=True)
RENAME = Method(SERVICE, "container.rename", RenameRequest, RecordAnswer, mutating=True)
UPDATE = Method(SERVICE, "container.update", UpdateRequest, RecordAnswer, mutating=True)
REMOVE = Method(SERVICE, "container.remove", RemoveRequest, RemoveAnswer, mutating=True)
INSPECT = Method(SERVICE, "container.inspect", ContainerRequest, RecordAnswer)
RESIZE = Method(SERVICE, "container.resize", ResizeRequest, Empty)
TOP = Method(SERVICE, "container.top", TopRequest, TopAnswer)
CHANGES = Method(SERVICE, "container.changes", ContainerRequest, ChangesAnswer)
SIZES = Method(SERVICE, "container.sizes", SizesRequest, SizesAnswer)

# The answer of WAIT comes as soon as the wait is registered, so that headers can be flushed.
WAIT = StreamMethod(SERVICE, "container.wait", WaitRequest, Empty)
ATTACH = StreamMethod(SERVICE, "container.attach", AttachRequest, StreamAnswer)
LOGS = StreamMethod(SERVICE, "container.logs", LogsRequest, StreamAnswer)
STATS = StreamMethod(SERVICE, "container.stats", StatsRequest, Empty)
EXPORT = StreamMethod(SERVICE, "container.export", ContainerRequest, Empty)
COMMIT = StreamMethod(SERVICE, "container.commit", CommitRequest, CommitAnswer)

ARCHIVE_STAT = Method(SERVICE, "archive.stat", ArchiveRequest, PathStat)
ARCHIVE_GET = StreamMethod(SERVICE, "archive.get", ArchiveRequest, PathStat)
# The tar comes from the opener; the agent closes its side when all is extracted, or resets.
ARCHIVE_PUT = StreamMethod(SERVICE, "archive.put", ArchivePutRequest, Empty)

EXEC_CREATE = Method(SERVICE, "exec.create", ExecCreateRequest, ExecAnswer, mutating=True)
EXEC_INSPECT = Method(SERVICE, "exec.inspect", ExecRequest, ExecAnswer)
EXEC_START_DETACHED = Method(SERVICE, "exec.start", ExecStartRequest, Empty, mutating=True)
EXEC_START = StreamMethod(SERVICE, "exec.attach", ExecStartRequest, StreamAnswer)

CONNECT = Method(SERVICE, "network.connect", ConnectRequest, RecordAnswer, mutating=True)
DISCONNECT = Method(SERVICE, "network.disconnect", DisconnectRequest, RecordAnswer, mutating=True)
NETWORK_APPLY = Method(SERVICE, "network.apply", NetworkState, Empty)
NETWORK_REMOVE = Method(SERVICE, "network.remove", NetworkRequest, Empty, mutating=True)

VOLUME_CREATE = Method(SERVICE, "volume.create", VolumeAnswer, VolumeAnswer, mutating=True)
VOLUME_INSPECT = Method(SERVICE, "volume.inspect", VolumeRequest, VolumeAnswer)
VOLUME_LIST = Method(SERVICE, "volume.list", Empty, VolumeList)
VOLUME_REMOVE = Method(SERVICE, "volume.remove", VolumeRequest, Empty, mutating=True)
VOLUME_USAGE = Method(SERVICE, "volume.usage", NamesRequest, UsageAnswer)
VOLUME_EXPORT = StreamMethod(SERVICE, "volume.export", VolumeRequest, VolumeAnswer)
VOLUME_IMPORT = StreamMethod(SERVICE, "volume.import", VolumeAnswer, Empty)

IMAGE_FETCH = Method(SERVICE, "image.fetch", ImageRequest, Empty)
IMAGE_RELEASE = Method(SERVICE, "image.release", KeepImages, ReclaimedAnswer)
