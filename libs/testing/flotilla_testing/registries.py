"""A real registry (docker-registry) for tests, with or without authentication."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

USER = "user"
PASSWORD = "secret"
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
_STARTS_WITHIN_S = 30.0
_HTPASSWD = "user:$2b$05$yUEcowRn/PxECyMjOh92MuMiStLjhh6QXiqqTkAWV326k3STbrJ2W\n"


@dataclass(frozen=True)
class Registry:
    """A registry at an address as it is written in references."""

    address: str
    log_file: Path

    def get(self, path: str) -> httpx.Response:
        """Ask the registry itself, as the user that it knows."""
        url = f"http://{self.address}{path}"
        return httpx.get(url, auth=(USER, PASSWORD), timeout=30, trust_env=False)


@contextmanager
def running_registry(
    folder: Path, *, basic_auth: bool = False, auth: str = "", delete: bool = True
) -> Iterator[Registry]:
    """Run a registry on a port of the kernel's choice.

    Args:
        folder: Where it keeps its data, configuration and log.
        basic_auth: Want `USER` with `PASSWORD`.
        auth: Another `auth:` section of its configuration, as YAML indented by two.
        delete: Allow deletion.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if basic_auth:
        (folder / "htpasswd").write_text(_HTPASSWD)
        auth = f"  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n"
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\n"
        f"storage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
        f"  delete:\n    enabled: {str(delete).lower()}\n"
        "http:\n  addr: 127.0.0.1:0\n" + (f"auth:\n{auth}" if auth else "")
    )
    log_file = folder / "registry.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield Registry(f"127.0.0.1:{_port(process, log_file)}", log_file)
    finally:
        process.kill()
        process.wait(timeout=30)


def _port(process: "subprocess.Popen[bytes]", log_file: Path) -> int:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline:
        found = _LISTENING.search(log_file.read_text(errors="replace"))
        if found:
            return int(found.group(1))
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"docker-registry does not listen: {log_file.read_text(errors='replace')}")
