"""The mount that the driver options of a ``local`` volume describe.

dockerd's rules: ``volume/local/local.go`` and ``local_unix.go`` of moby.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass

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


def mount_of(options: Mapping[str, str]) -> OptionMount | None:
    """Return the mount that the options describe; None for a plain folder."""
    if not (options.get("device") or options.get("type")):
        return None
    kind = options.get("type", "")
    flags = 0
    data = []
    for word in filter(None, options.get("o", "").split(",")):
        if word in _SET:
            flags |= _SET[word]
        elif word in _CLEAR:
            flags &= ~_CLEAR[word]
        else:
            data.append(_resolved(word, kind))
    return OptionMount(options.get("device", ""), kind, flags, ",".join(data))


def _resolved(word: str, kind: str) -> str:
    """Return ``addr=name`` with the address of the name: the kernel knows no names."""
    key, _, host = word.partition("=")
    if key != "addr" or not host or not kind.startswith(_ADDRESSED):
        return word
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return f"addr={found[0][4][0]}"
