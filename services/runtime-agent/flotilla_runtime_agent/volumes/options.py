"""Driver options of ``local`` volumes, and the mount that they describe.

dockerd's rules: ``volume/local/local.go`` and ``local_unix.go`` of moby.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from flotilla_core.errors import InvalidArgumentError

_VALID = ("device", "o", "size", "type")
_REQUIRED = {"device": ("type",), "o": ("device", "type"), "type": ("device",)}
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ADDRESSED = ("nfs", "nfs4", "cifs")

_SET = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "sync": 0x10,
    "remount": 0x20,
    "mand": 0x40,
    "dirsync": 0x80,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "bind": 0x1000,
    "rbind": 0x1000 | 0x4000,
    "relatime": 0x200000,
    "strictatime": 0x1000000,
}
_CLEAR = {
    "rw": 0x1,
    "suid": 0x2,
    "dev": 0x4,
    "exec": 0x8,
    "async": 0x10,
    "nomand": 0x40,
    "atime": 0x400,
    "diratime": 0x800,
    "norelatime": 0x200000,
    "nostrictatime": 0x1000000,
    "defaults": 0,
}


@dataclass(frozen=True)
class OptionMount:
    """The arguments of mount(2)."""

    source: str
    kind: str
    flags: int
    data: str


def check_name(name: str) -> None:
    """Refuse what is no volume name.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if len(name) == 1:
        raise InvalidArgumentError(
            "volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )


def check_options(options: Mapping[str, str]) -> None:
    """Refuse unknown and incomplete options.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    for option in options:
        if option not in _VALID:
            raise InvalidArgumentError(f'invalid option: "{option}"')
    if options.get("size"):
        raise InvalidArgumentError("quota size requested but no quota support")
    for option, others in _REQUIRED.items():
        for other in others:
            if options.get(option) and not options.get(other):
                raise InvalidArgumentError(f'missing required option: "{other}"')


def mount_of(options: Mapping[str, str]) -> OptionMount | None:
    """Return the mount that the options describe; None for a plain folder."""
    if not options.get("device"):
        return None
    flags = 0
    data = []
    for word in filter(None, options.get("o", "").split(",")):
        if word in _SET:
            flags |= _SET[word]
        elif word in _CLEAR:
            flags &= ~_CLEAR[word]
        else:
            data.append(_resolved(word, options["type"]))
    return OptionMount(options["device"], options["type"], flags, ",".join(data))


def _resolved(word: str, kind: str) -> str:
    """Return ``addr=name`` with the address of the name: the kernel knows no names."""
    key, _, host = word.partition("=")
    if key != "addr" or not host or not kind.startswith(_ADDRESSED):
        return word
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return f"addr={found[0][4][0]}"
