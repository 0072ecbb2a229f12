"""A real PostgreSQL server for tests, reached by a unix socket only."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_START_TIMEOUT_S = 60
_UNPRIVILEGED = ("postgres", "nobody")


@contextmanager
def running_postgres() -> Iterator[Path]:
    """Run a server; yields the folder of its socket."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="flt-test-pg-", dir="/tmp"))
    owner = _owner()
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    data = folder / "data"
    try:
        initdb = ("--auth=trust", "--username=flotilla", "--no-sync", "--encoding=UTF8")
        _run([str(programs / "initdb"), "-D", str(data), "--no-locale", *initdb], folder, owner)
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        control = [str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log")]
        control += ["-t", str(_START_TIMEOUT_S)]
        _run([*control, "-o", options, "start"], folder, owner)
        try:
            yield folder
        finally:
            _run([*control, "-m", "immediate", "stop"], folder, owner)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server: Path) -> str:
    """Make an empty database on a running server; return its URL for SQLAlchemy."""
    name = f"test{uuid.uuid4().hex}"
    psql = [str(_programs() / "psql"), "-h", str(server), "-U", "flotilla", "-d", "postgres"]
    _run([*psql, "-q", "-c", f"create database {name}"], server, None)
    return f"postgresql+asyncpg://flotilla@/{name}?host={server}"


def _programs() -> Path:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    if found is None:
        raise FileNotFoundError("postgresql: `make install-test` installs it")
    return Path(found).resolve().parent


def _owner() -> pwd.struct_passwd | None:
    """Return whom to run it as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in _UNPRIVILEGED if name in known)


def _run(command: Sequence[str], folder: Path, owner: pwd.struct_passwd | None) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        user=owner.pw_uid if owner else None,
        group=owner.pw_gid if owner else None,
        extra_groups=[] if owner else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if "start" not in command else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        timeout=_START_TIMEOUT_S * 2,
        check=False,
    )
    if done.returncode != 0:
        log = folder / "log"
        said = (done.stdout or b"").decode(errors="replace")
        raise RuntimeError(f"{command[0]}: {said}{log.read_text() if log.exists() else ''}")
