"""Tar archives, member by member, for tests of layers and images."""

import io
import tarfile
from dataclasses import dataclass, field


@dataclass
class Member:
    """A member of an archive; what is not said is as with an ordinary file."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    mtime: int = 1_700_000_000
    pax: dict[str, str] = field(default_factory=dict)


def archive(*members: Member) -> bytes:
    """Return a plain tar of the members in their order."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.size, info.type, info.mode = len(member.content), member.kind, member.mode
            info.uid, info.gid, info.linkname = member.uid, member.gid, member.link
            info.mtime, info.pax_headers = member.mtime, member.pax
            tar.addfile(info, io.BytesIO(member.content))
    return output.getvalue()


def folder(name: str, mode: int = 0o755) -> Member:
    """Return a folder."""
    return Member(name, kind=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> Member:
    """Return a symbolic link."""
    return Member(name, kind=tarfile.SYMTYPE, link=target, mode=0o777)


def hard_link(name: str, target: str) -> Member:
    """Return a hard link."""
    return Member(name, kind=tarfile.LNKTYPE, link=target)
