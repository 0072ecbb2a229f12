"""The mount that the driver options of a ``local`` volume describe.

dockerd's rules: ``volume/local/local.go`` and ``local_unix.go`` of moby.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from flotilla_core.errors import InternalError

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
    """Return the mount that the options describe; None for a plain folder.

    Raises:
        InternalError: If a server's name has no address.
    """
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
    device = options.get("device", "")
    if kind == "cifs" and not any(word.startswith("addr=") for word in data):
        device = _resolved_share(device)
    return OptionMount(device, kind, flags, ",".join(data))


def _resolved_share(device: str) -> str:
    """Return ``//host/share`` with the host's address."""
    host, slash, share = device.removeprefix("//").partition("/")
    return f"//{_address(host)}{slash}{share}" if device.startswith("//") and host else device


def _resolved(word: str, kind: str) -> str:
    """Return ``addr=name`` with the address of the name: the kernel knows no names."""
    key, _, host = word.partition("=")
    if key != "addr" or not host or not kind.startswith(_ADDRESSED):
        return word
    return f"addr={_address(host)}"


def _address(host: str) -> str:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise InternalError(
            f"error resolving passed in network volume address: lookup {host}: no such host"
        ) from error
    return str(found[0][4][0])
