"""`docker cp`, `diff`, `export` and the archive endpoints."""

import base64
import io
import json
import tarfile
from pathlib import Path

import httpx
import pytest

from flotilla_testing.clients import Start, created
from flotilla_testing.fixtures import Docker


def tar_of(**files: str) -> bytes:
    """Return a tar of text files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def test_cp_in_and_out(docker: Docker, start: Start, tmp_path: Path) -> None:
    identifier = start()
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_text("content")
    docker("cp", str(source), f"{identifier}:/new").checked()
    assert docker("exec", identifier, "cat", "/new/deep/file").out == "content"
    docker("cp", f"{source}/.", f"{identifier}:/tmp").checked()
    assert docker("exec", identifier, "cat", "/tmp/deep/file").out == "content"
    docker("cp", f"{identifier}:/new/deep/file", str(tmp_path / "back")).checked()
    assert (tmp_path / "back").read_text() == "content"
    docker("cp", f"{identifier}:/new", str(tmp_path / "folder")).checked()
    assert (tmp_path / "folder/deep/file").read_text() == "content"


def test_a_running_container_is_copied_without_its_kernel_files(
    docker: Docker, start: Start, tmp_path: Path
) -> None:
    identifier = start("-v", "vol:/vol", "--hostname", "named")
    docker("exec", identifier, "touch", "/vol/file").checked()
    for path in ("/proc/1/status", "/sys/kernel", "/dev/null"):
        missing = docker("cp", f"{identifier}:{path}", "-")
        assert f"Could not find the file {path} in container" in missing.stderr
    docker("cp", f"{identifier}:/", str(tmp_path / "root")).checked()
    assert (tmp_path / "root/vol/file").exists()
    assert (tmp_path / "root/etc/hostname").read_text() == "named\n"
    assert list((tmp_path / "root/proc").iterdir()) == []


def test_cp_through_pipes(docker: Docker, start: Start) -> None:
    identifier = start()
    archive = tar_of(piped="through")
    docker("cp", "-", f"{identifier}:/tmp", stdin=archive).checked()
    assert docker("exec", identifier, "cat", "/tmp/piped").out == "through"


def test_cp_with_a_stopped_container_and_its_volume(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    docker("create", "--name", "still", "-v", "/vol", "busybox", "cat", "/vol/file").checked()
    docker("cp", str(tmp_path / "file"), "still:/vol/").checked()
    assert docker("start", "-a", "still").out == "content"
    docker("cp", "still:/vol/file", str(tmp_path / "back")).checked()
    assert (tmp_path / "back").read_text() == "content"


def test_cp_tells_what_is_missing(docker: Docker, start: Start, tmp_path: Path) -> None:
    identifier = start()
    missing = docker("cp", f"{identifier}:/nope", str(tmp_path))
    assert missing.code == 1
    assert f"Could not find the file /nope in container {identifier}" in missing.stderr
    (tmp_path / "file").write_text("x")
    no_folder = docker("cp", str(tmp_path / "file"), f"{identifier}:/nope/")
    assert no_folder.code == 1


def test_stat_follows_the_rules_of_links(api: httpx.Client, docker: Docker, start: Start) -> None:
    identifier = start()
    docker("exec", identifier, "ln", "-s", "/etc/passwd", "/link").checked()
    answer = api.head(f"/containers/{identifier}/archive", params={"path": "/link"})
    assert answer.status_code == 200
    stat = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
    assert stat["name"] == "link"
    assert stat["linkTarget"] == "/etc/passwd"
    assert stat["mode"] & 0x08000000  # Go's ModeSymlink
    folder = api.head(f"/containers/{identifier}/archive", params={"path": "/etc/"})
    stat = json.loads(base64.b64decode(folder.headers["X-Docker-Container-Path-Stat"]))
    assert (stat["name"], bool(stat["mode"] & 0x80000000)) == ("etc", True)


def test_archive_is_named_after_the_last_part(api: httpx.Client, start: Start) -> None:
    identifier = start()
    for path, first in (("/etc/passwd", "passwd"), ("/etc", "etc/"), ("/etc/.", "./")):
        answer = api.get(f"/containers/{identifier}/archive", params={"path": path})
        assert answer.headers["Content-Type"] == "application/x-tar"
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            name = archive.getnames()[0]
            assert name.rstrip("/") == first.rstrip("/")


@pytest.mark.parametrize(
    ("path", "parameters", "status", "text"),
    [
        ("/nope", {}, 404, "Could not find the file /nope in container"),
        ("/etc/passwd", {}, 400, "extraction point is not a directory"),
        ("/dir", {"noOverwriteDirNonDir": "1"}, 400, "cannot overwrite"),
    ],
)
def test_put_archive_refuses(
    api: httpx.Client,
    docker: Docker,
    start: Start,
    path: str,
    parameters: dict[str, str],
    status: int,
    text: str,
) -> None:
    identifier = start()
    docker("exec", identifier, "mkdir", "-p", "/dir/entry").checked()
    answer = api.put(
        f"/containers/{identifier}/archive",
        params={"path": path, **parameters},
        content=tar_of(entry="x"),
    )
    assert answer.status_code in (status, 500)  # dockerd says 500 to most
    assert text in answer.json()["message"]


@pytest.mark.parametrize(
    ("kind", "link", "text"),
    [
        (b"V", "", "unhandled tar header type 86"),
        (tarfile.LNKTYPE, "../../x", 'invalid hardlink "/x" -> "../../x"'),
    ],
)
def test_put_archive_refuses_strange_entries(
    api: httpx.Client, start: Start, kind: bytes, link: str, text: str
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("entry")
        info.type, info.linkname = kind, link
        archive.addfile(info)
    answer = api.put(
        f"/containers/{start()}/archive", params={"path": "/tmp"}, content=buffer.getvalue()
    )
    assert answer.status_code in (400, 500)
    assert text in answer.json()["message"]


def test_read_only_root_refuses_files(api: httpx.Client) -> None:
    identifier = created(api, {"Cmd": ["true"], "HostConfig": {"ReadonlyRootfs": True}})
    answer = api.put(
        f"/containers/{identifier}/archive", params={"path": "/"}, content=tar_of(a="x")
    )
    assert answer.status_code in (403, 500)  # dockerd 26 says 500, newer ones 403
    assert answer.json() == {"message": "container rootfs is marked read-only"}


def test_diff_lists_changes(docker: Docker, start: Start) -> None:
    identifier = start()
    script = "echo x >/added; rm /etc/motd; echo y >>/etc/group; mkdir /d"
    docker("exec", identifier, "sh", "-c", script).checked()
    lines = docker("diff", identifier).checked().lines
    assert {"A /added", "D /etc/motd", "C /etc/group", "C /etc", "A /d"} <= set(lines)
    assert "C /bin" not in lines


def test_diff_lists_the_folders_above_a_change(docker: Docker) -> None:
    docker("run", "--name", "deep", "layered", "sh", "-c", "echo x >>/data/seed").checked()
    assert set(docker("diff", "deep").checked().lines) == {"C /data", "C /data/seed"}


def test_export_is_a_tar_of_the_root(docker: Docker, start: Start, tmp_path: Path) -> None:
    identifier = start()
    docker("exec", identifier, "sh", "-c", "echo exported >/marker").checked()
    docker("export", "-o", str(tmp_path / "root.tar"), identifier).checked()
    with tarfile.open(tmp_path / "root.tar") as archive:
        member = archive.extractfile("marker")
        assert member is not None
        assert member.read() == b"exported\n"
        assert "bin/busybox" in archive.getnames()
