"""What the gateway answers: to nodes (join, report), and to the ``flotilla`` command."""

from pydantic import Field

from flotilla_bus.methods import Empty, Message, Method, Notice, StreamMethod
from flotilla_engine.records import (
    ContainerChange,
    ImageRecord,
    NetworkState,
    NodeInfo,
    NodeRecord,
    VolumeRecord,
)

SERVICE = "gateway"


class JoinRequest(Message):
    """A node comes (again): who it is, and which containers it has.

    ``revisions`` has all of them, with how far they are: what the catalogue lists for this node
    and is not here does not exist. ``session`` is new with each start of the agent: the calls to
    an earlier one have no answer any more.
    """

    info: NodeInfo
    revisions: dict[str, int]
    token: str = ""
    session: str = ""


class JoinAnswer(Message):
    """What the node should know: its networks now, containers that must go, images that exist.

    ``stray`` names containers of the node that were removed while it was away. ``wanted`` names
    those of which the catalogue has another revision, or none: the node tells them with SYNC, in
    as many messages as it takes, and all its volumes with them.
    """

    stray: list[str] = Field(default_factory=list)
    wanted: list[str] = Field(default_factory=list)
    networks: list[NetworkState] = Field(default_factory=list)
    volumes: list[str] = Field(default_factory=list)  # removed while the node was away
    images: list[ImageRecord] | None = None


class SyncRequest(Message):
    """Changes since the last report, oldest first; sent again until answered.

    ``after_join`` tells that these are what the answer to JOIN wanted.
    """

    changes: list[ContainerChange] = Field(default_factory=list)
    volumes: list[VolumeRecord] = Field(default_factory=list)
    after_join: bool = False
    removed_volumes: list[str] = Field(default_factory=list)


class SyncAnswer(Message):
    """``rejoin``: the gateway does not know the node (any more); send JOIN."""

    rejoin: bool = False


class Heartbeat(Message):
    """A sign of life, every two seconds; load and number of containers are informative.

    ``connections`` counts the node's connections to NATS: with a new one, what was asked of the
    node, or its answer, may have got lost.
    """

    node_id: str
    connections: int = 0
    containers_running: int = 0
    load: float = 0.0


class NodesAnswer(Message):
    """All nodes."""

    nodes: list[NodeRecord]


class NodeRequest(Message):
    """Names a node by id, unique prefix or name."""

    node: str
    force: bool = False


class NodeUpdateRequest(NodeRequest):
    """Change labels, or drain (no new containers) and undrain."""

    labels: dict[str, str] | None = None
    drained: bool | None = None


class TokenAnswer(Message):
    """A new join token; shown once."""

    token: str


class VolumeMoveRequest(Message):
    """Move a volume that no container uses to another node."""

    name: str
    node: str


JOIN = Method(SERVICE, "node.join", JoinRequest, JoinAnswer, mutating=True, speaker=True)
SYNC = Method(SERVICE, "node.sync", SyncRequest, SyncAnswer, speaker=True)
HEARTBEAT = Notice(SERVICE, "node.heartbeat", Heartbeat, speaker=True)

NODES = Method(SERVICE, "nodes.list", Empty, NodesAnswer)
NODE_REMOVE = Method(SERVICE, "nodes.remove", NodeRequest, Empty, mutating=True)
NODE_UPDATE = Method(SERVICE, "nodes.update", NodeUpdateRequest, Empty, mutating=True)
TOKEN_CREATE = Method(SERVICE, "tokens.create", Empty, TokenAnswer, mutating=True)
# Progress comes as text on the stream; it ends when the volume is on its new node.
VOLUME_MOVE = StreamMethod(SERVICE, "volumes.move", VolumeMoveRequest, Empty)
