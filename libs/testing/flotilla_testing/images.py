"""Test images as `docker save` tars, made of Debian's static busybox: no registry is needed.

`busybox:latest` has one layer. `layered:latest` has a second one on top, which adds
`/etc/layered`, removes `/etc/motd` and makes `/data` with a file in it.
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

_CREATED = "2024-01-01T00:00:00Z"
_FOLDERS = ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var")
_PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
user:x:1000:1000:user:/home:/bin/sh
"""
_GROUP = "root:x:0:\ndaemon:x:1:\nuser:x:1000:\nextra:x:2000:user\n"
_NSSWITCH = "hosts: files dns\n"


@dataclass
class Layer:
    """A layer in the making: entries in order."""

    entries: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder."""
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, mode
        self.entries.append((info, b""))

    def file(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """Add a regular file."""
        data = content.encode() if isinstance(content, str) else content
        info = tarfile.TarInfo(path)
        info.size, info.mode = len(data), mode
        self.entries.append((info, data))

    def link(self, path: str, target: str, hard: bool = False) -> None:
        """Add a symbolic or a hard link."""
        info = tarfile.TarInfo(path)
        info.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
        info.linkname, info.mode = target, 0o777
        self.entries.append((info, b""))

    def remove(self, path: str) -> None:
        """Remove what a lower layer has at that path."""
        folder, _, name = path.rpartition("/")
        self.file(f"{folder}/.wh.{name}" if folder else f".wh.{name}", b"")

    def tar(self) -> bytes:
        """Return the layer, the same bytes each time."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for info, content in self.entries:
                archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()


def busybox_layer() -> Layer:
    """Return a root file system with busybox and a link for each of its applets."""
    program = _busybox()
    layer = Layer()
    for folder in _FOLDERS:
        layer.folder(folder, 0o1777 if folder == "tmp" else 0o755)
    layer.file("bin/busybox", program.read_bytes(), 0o755)
    applets = subprocess.run(
        [program, "--list"], check=True, capture_output=True, text=True, timeout=30
    )
    for applet in applets.stdout.split():
        if applet != "busybox":
            layer.link(f"bin/{applet}", "bin/busybox", hard=True)
    layer.link("usr/bin/env", "../../bin/env")
    layer.file("etc/passwd", _PASSWD)
    layer.file("etc/group", _GROUP)
    layer.file("etc/nsswitch.conf", _NSSWITCH)
    layer.file("etc/motd", "made for tests\n")
    return layer


def _busybox() -> Path:
    for candidate in ("/bin/busybox", "/usr/bin/busybox", shutil.which("busybox")):
        if candidate and Path(candidate).exists():
            return Path(candidate)
    raise FileNotFoundError("busybox: `make install-test` installs it")


def save_tar(
    path: Path, references: list[str], layers: list[Layer], config: dict[str, object]
) -> str:
    """Write an image as `docker save` does; return its id, the digest of its config."""
    tars = [layer.tar() for layer in layers]
    history = [
        {"created": _CREATED, "created_by": f"layer {number}"} for number in range(len(tars))
    ]
    image = {
        "architecture": "amd64",
        "os": "linux",
        "created": _CREATED,
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], **config},
        "rootfs": {"type": "layers", "diff_ids": [_digest(tar) for tar in tars]},
        "history": history,
    }
    config_bytes = json.dumps(image, sort_keys=True).encode()
    hex_id = hashlib.sha256(config_bytes).hexdigest()
    names = [f"{hashlib.sha256(tar).hexdigest()}.tar" for tar in tars]
    manifest = [{"Config": f"{hex_id}.json", "RepoTags": references, "Layers": names}]
    files = {f"{hex_id}.json": config_bytes, "manifest.json": json.dumps(manifest).encode()}
    files |= dict(zip(names, tars, strict=True))
    archive = Layer()
    for name, content in files.items():
        archive.file(name, content)
    path.write_bytes(archive.tar())
    return f"sha256:{hex_id}"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def write_busybox(path: Path) -> str:
    """Write `busybox:latest`; return its id."""
    return save_tar(path, ["busybox:latest"], [busybox_layer()], {"Cmd": ["sh"]})


def write_layered(path: Path) -> str:
    """Write `layered:latest`, two layers; return its id."""
    top = Layer()
    top.file("etc/layered", "second layer\n")
    top.remove("etc/motd")
    top.folder("data")
    top.file("data/seed", "seed\n")
    config: dict[str, object] = {
        "Cmd": ["cat", "/etc/layered"],
        "WorkingDir": "/data",
        "Labels": {"org.example.layers": "2"},
    }
    return save_tar(path, ["layered:latest"], [busybox_layer(), top], config)
