"""Random ids in the forms that Docker's clients know."""

from __future__ import annotations

import secrets

SHORT_LENGTH = 12
_ID_LENGTH = 64
_OWNER_LENGTH = 16
_NODE_ID_LENGTH = 25
_NODE_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_id() -> str:
    """Return a new id of 64 hex digits, as of containers and networks.

    The first twelve digits are never all decimal, as in dockerd: a short id is used as a host
    name, and one that reads as a number is not a valid one everywhere.
    """
    while True:
        identifier = secrets.token_hex(32)
        if not identifier[:SHORT_LENGTH].isdecimal():
            return identifier


def new_exec_id(container_id: str) -> str:
    """Return a new id of an exec, 64 hex digits, the last of which are its container's first."""
    return new_id()[:-_OWNER_LENGTH] + container_id[:_OWNER_LENGTH]


def exec_owner(exec_id: str) -> str:
    """Return the first digits of the id of the container that an exec belongs to; "" if none."""
    return exec_id[-_OWNER_LENGTH:] if len(exec_id) == _ID_LENGTH else ""


def short_id(identifier: str) -> str:
    """Return the first twelve digits, without the algorithm of a digest."""
    return identifier.rpartition(":")[2][:SHORT_LENGTH]


def new_node_id() -> str:
    """Return a new node id: 25 lower case letters and digits, like Swarm's."""
    return "".join(secrets.choice(_NODE_ID_ALPHABET) for _ in range(_NODE_ID_LENGTH))
