"""How a contract names its methods: subject, request and answer, written once for both ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from flotilla_core.errors import InvalidArgumentError

AGENT = "agent"
"""The service whose methods are addressed to one node."""


class Message(BaseModel):
    """Base of requests and answers: unknown fields are ignored, so that versions may mix."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Empty(Message):
    """A request or an answer without content."""


def dumped(message: BaseModel) -> bytes:
    """Return a message as it is sent: what has its default is left out, which is most of many."""
    return message.model_dump_json(by_alias=True, exclude_defaults=True).encode()


Q = TypeVar("Q", bound=BaseModel)
A = TypeVar("A", bound=BaseModel)


@dataclass(frozen=True)
class _Addressed:
    """What has a subject: of a service of the fleet, or of one node."""

    service: str
    name: str

    @property
    def of_node(self) -> bool:
        """Whether it is addressed to a node and not to a service of the fleet."""
        return self.service == AGENT


@dataclass(frozen=True)
class _Callable(_Addressed):
    def subject(self, *, node: str | None = None, speaker: str | None = None) -> str:
        """Return the subject of a call.

        Args:
            node: The node that is to answer; only of a node's methods.
            speaker: The calling node's id, where the method binds the caller to itself; ``*``
                in the subject to listen on.

        Raises:
            InvalidArgumentError: If the node is missing, or given to a service's method.
        """
        if self.of_node != (node is not None):
            which = "needs a node" if self.of_node else "is not a node's method"
            raise InvalidArgumentError(f"{self.service} {self.name} {which}")
        if node is not None:
            return f"flotilla.rpc.node.{node}.{self.name}"
        if speaker is not None:
            return f"flotilla.from.{speaker}.rpc.{self.service}.{self.name}"
        return f"flotilla.rpc.{self.service}.{self.name}"


@dataclass(frozen=True)
class Method(_Callable, Generic[Q, A]):
    """A method with one request and one answer.

    Attributes:
        service: The service that answers; ``agent`` means a node, named at the call.
        name: The method's name, unique in its service.
        request: The type of the request.
        answer: The type of the answer.
        mutating: Whether it changes something: its outcome is then kept by request id for two
            minutes, so that the same request sent again finds it and does nothing twice.
        speaker: Whether the subject holds the sender's node id. The broker lets a node send
            only under its own id, so the handler may believe the id it gets. Every method that
            nodes call needs it.
    """

    request: type[Q]
    answer: type[A]
    mutating: bool = False
    speaker: bool = False


@dataclass(frozen=True)
class StreamMethod(_Callable, Generic[Q, A]):
    """A method whose answer is followed by a duplex stream of bytes."""

    request: type[Q]
    answer: type[A]
    speaker: bool = False


@dataclass(frozen=True)
class Notice(_Addressed, Generic[Q]):
    """A message that is told to whoever listens, without an answer or any promise.

    Attributes:
        service: Who is told; ``agent`` means nodes: one of them, or all.
        name: The notice's name, unique in its service.
        body: The type of its body.
        speaker: Whether the subject holds the sender's node id, as with methods.
    """

    body: type[Q]
    speaker: bool = False

    def subject(self, *, node: str | None = None, speaker: str | None = None) -> str:
        """Return the subject; with a node, only that node is told."""
        if node is not None:
            return f"flotilla.notice.node.{node}.{self.service}.{self.name}"
        if speaker is not None:
            return f"flotilla.from.{speaker}.notice.{self.service}.{self.name}"
        return f"flotilla.notice.all.{self.service}.{self.name}"
