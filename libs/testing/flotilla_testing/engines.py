"""Engines under test: how the docker CLI, docker-py and raw HTTP reach one."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from docker import DockerClient

_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    stdout: str
    stderr: str

    def checked(self) -> "Result":
        """Return itself if the command succeeded.

        Raises:
            AssertionError: If it did not, with what it said.
        """
        assert self.code == 0, f"exit code {self.code}: {self.stderr or self.stdout}"
        return self

    @property
    def out(self) -> str:
        """The output without white space around it."""
        return self.stdout.strip()

    @property
    def lines(self) -> list[str]:
        """The output's lines."""
        return self.stdout.splitlines()


@dataclass(frozen=True)
class Engine:
    """A Docker engine at an address as in `DOCKER_HOST`."""

    host: str
    is_flotilla: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which the docker CLI reaches the engine."""
        dropped = ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        return {**kept, "DOCKER_HOST": self.host, "DOCKER_CLI_HINTS": "false"}

    def docker(
        self,
        *arguments: str,
        stdin: str | bytes | None = None,
        timeout_s: float = _TIMEOUT_S,
        env: dict[str, str] | None = None,
    ) -> Result:
        """Run the docker CLI; bytes that are no UTF-8 come as U+FFFD."""
        done = subprocess.run(
            ["docker", *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout_s,
            env=self.environment | (env or {}),
            check=False,
        )
        return Result(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    def popen(self, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start the docker CLI with pipes; the caller ends and closes it."""
        return subprocess.Popen(
            ["docker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )

    def api(self, timeout_s: float = _TIMEOUT_S) -> httpx.Client:
        """Return an HTTP client for the raw API; the caller closes it."""
        if self.host.startswith("unix://"):
            transport = httpx.HTTPTransport(uds=self.host.removeprefix("unix://"))
            return httpx.Client(transport=transport, base_url="http://localhost", timeout=timeout_s)
        base_url = self.host.replace("tcp://", "http://", 1)
        return httpx.Client(base_url=base_url, timeout=timeout_s, trust_env=False)

    def client(self, timeout_s: int = int(_TIMEOUT_S)) -> DockerClient:
        """Return docker-py's client; the caller closes it."""
        return DockerClient(base_url=self.host, timeout=timeout_s)
