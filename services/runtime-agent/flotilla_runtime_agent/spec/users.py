"""Who a process runs as: ``user[:group]`` looked up in the container's own files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flotilla_core.errors import InternalError
from flotilla_runtime_agent.spec.inroot import read_in_root

_MAX_ID = 2**31 - 1
_NUMBER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class User:
    """Numbers of a user, as ``process.user`` of the runtime specification."""

    uid: int = 0
    gid: int = 0
    additional_gids: list[int] = field(default_factory=list)

    def as_oci(self) -> dict[str, object]:
        """Return the specification's form."""
        return {"uid": self.uid, "gid": self.gid, "additionalGids": self.additional_gids}


def look_up(root: Path, user: str, group_add: Sequence[str] = ()) -> User:
    """Find the user and the groups.

    Raises:
        InternalError: With dockerd's text, if a name is in neither file.
    """
    passwd = _entries(root, "/etc/passwd", 7)
    groups = _entries(root, "/etc/group", 4)
    name, _, group = user.partition(":")
    uid, gid, login = _user(passwd, name)
    if group:
        gid = _group(groups, group)
        memberships: list[int] = []
    else:
        memberships = [
            int(entry[2])
            for entry in groups
            if login in entry[3].split(",") and entry[2].isdigit() and login
        ]
    added = [_group(groups, extra, "Unable") for extra in group_add]
    return User(uid, gid, list(dict.fromkeys([gid, *memberships, *added])))


def _entries(root: Path, path: str, width: int) -> list[list[str]]:
    text = read_in_root(root, path) or b""
    rows = [
        line.split(":")
        for line in text.decode(errors="replace").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    return [(row + [""] * width)[:width] for row in rows]


def _user(passwd: list[list[str]], name: str) -> tuple[int, int, str]:
    """Return uid, gid and login name."""
    wanted = name or "0"
    for entry in passwd:
        is_named = entry[0] == wanted or (wanted.isdigit() and entry[2] == wanted)
        if is_named and entry[2].isdigit():
            return int(entry[2]), int(entry[3]) if entry[3].isdigit() else 0, entry[0]
    if not _NUMBER.fullmatch(wanted):
        raise InternalError(f"unable to find user {name}: no matching entries in passwd file")
    return _in_range(wanted), 0, ""


def _group(groups: list[list[str]], name: str, refused: str = "unable") -> int:
    for entry in groups:
        is_named = entry[0] == name or (name.isdigit() and entry[2] == name)
        if is_named and entry[2].isdigit():
            return int(entry[2])
    if not _NUMBER.fullmatch(name):
        raise InternalError(f"{refused} to find group {name}: no matching entries in group file")
    return _in_range(name)


def _in_range(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _MAX_ID:
        raise InternalError("uids and gids must be in range 0-2147483647")
    return number
