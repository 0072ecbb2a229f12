"""How each service of a stack is started: program, environment, files, folders."""

import json
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flotilla_cli import nats_server
from flotilla_cli.processes import Process, Readiness
from flotilla_cli.stack import DIRECT_PORT, IMAGE_STORE_PORT, SERVICES, Host, Stack, write_secret

_READY_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 10.0
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "HTTPS_PROXY", "HTTP_PROXY")
_PASSED_ON_TOO = ("NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Service:
    """One process of the stack."""

    name: str  # as in `flotilla service kill NAME`; agents are named agent-HOST
    argv: tuple[str, ...]
    settings: dict[str, str]
    data_dir: Path
    process: Process
    speaks_when_ready: bool = True  # by sd_notify(3); nats-server does not

    def start(self, notify_path: Path) -> "Starting":
        """Start it, unless it runs; readiness is to be awaited on what this returns."""
        if self.process.pid() is not None:
            return Starting(self, None)
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        readiness = Readiness(notify_path)
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        environment |= {"PYTHONUNBUFFERED": "1"} | self.settings | readiness.environment
        self.process.start(self.argv, environment, self.data_dir)
        return Starting(self, readiness)

    def stop(self) -> None:
        """End it in order; containers stay."""
        self.process.stop(_STOP_TIMEOUT_S)


_PASSED = _PASSED_ON + _PASSED_ON_TOO


@dataclass(frozen=True)
class Starting:
    """A service on its way up."""

    service: Service
    readiness: Readiness | None  # None: it ran already

    def wait(self) -> bool:
        """Wait until it serves; say whether it had to be started."""
        if self.readiness is None:
            return False
        if self.service.speaks_when_ready:
            self.readiness.wait(self.service.process, _READY_TIMEOUT_S)
        else:
            self.readiness.close()
            nats_server.wait_until_ready(self.service.process, self.service.settings["ADDRESS"])
        return True


def names(stack: Stack) -> list[str]:
    """Return the names of all services, in the order in which they start."""
    return [*SERVICES, *(f"agent-{host.name}" for host in stack.hosts)]


def service(stack: Stack, name: str) -> Service:
    """Return the service of that name."""
    if name.startswith("agent-"):
        return _agent(stack, stack.host(name.removeprefix("agent-")))
    match name:
        case "nats":
            return _nats(stack)
        case "image-store":
            return _python(stack, name, _image_store(stack))
        case "registry-proxy":
            return _python(stack, name, _registry_proxy(stack))
        case _:
            return _python(stack, "gateway", _gateway(stack))


def _process(stack: Stack, name: str) -> Process:
    return Process(name, stack.run_dir / f"{name}.pid", stack.data_dir / "logs" / f"{name}.log")


def _nats(stack: Stack) -> Service:
    data_dir = stack.data_dir / "nats"
    argv = (nats_server.program(), "-c", str(nats_server.config_path(stack)))
    settings = {"ADDRESS": stack.control_address}
    return Service("nats", argv, settings, data_dir, _process(stack, "nats"), False)


def _python(
    stack: Stack,
    name: str,
    settings: dict[str, str],
    data_dir: Path | None = None,
    user: str | None = None,
    wrapper: Sequence[str] = (),
) -> Service:
    kind = "runtime-agent" if name.startswith("agent-") else name
    data_dir = data_dir or stack.data_dir / name
    prefix = f"FLOTILLA_{kind.upper().replace('-', '_')}_"
    common = {
        "DATA_DIR": str(data_dir),
        "NATS_URL": stack.nats_url,
        "NATS_CREDENTIALS": str(credentials_path(stack, user or name)),
    }
    environment = {prefix + key: value for key, value in (common | settings).items()}
    argv = (*wrapper, sys.executable, "-m", f"flotilla_{kind.replace('-', '_')}")
    return Service(name, argv, environment, data_dir, _process(stack, name))


def _image_store(stack: Stack) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite+aiosqlite:///{stack.data_dir}/image-store/images.db",
        "LISTEN": f"{stack.control_address}:{IMAGE_STORE_PORT}",
        "TOKEN_FILE": str(image_store_token(stack)),
    }


def _registry_proxy(stack: Stack) -> dict[str, str]:
    settings = {
        "IMAGE_STORE_URL": stack.image_store_url,
        "IMAGE_STORE_TOKEN_FILE": str(image_store_token(stack)),
    }
    registries = stack.data_dir / "registries.json"
    return settings | ({"REGISTRIES": str(registries)} if registries.is_file() else {})


def _gateway(stack: Stack) -> dict[str, str]:
    tls = {
        "TLS_CERT": str(stack.tls_dir / "server-cert.pem"),
        "TLS_KEY": str(stack.tls_dir / "server-key.pem"),
        "TLS_CA": str(stack.tls_dir / "ca.pem"),
    }
    return {
        **(tls if stack.uses_tls else {}),
        "DATABASE_URL": f"sqlite+aiosqlite:///{stack.data_dir}/gateway/catalogue.db",
        "LISTEN": ",".join((f"unix://{stack.socket}", *stack.listen)),
        "DIRECT_LISTEN": f"{stack.control_address}:{DIRECT_PORT}",
    }


def _agent(stack: Stack, host: Host) -> Service:
    settings = {
        "RUN_DIR": str(stack.host_run_dir(host)),
        "NODE_NAME": host.name,
        "IMAGE_STORE_URL": stack.image_store_url,
        "IMAGE_STORE_TOKEN_FILE": str(image_store_token(stack)),
        "CGROUP_PARENT": stack.cgroup(host),
    }
    wrapper: tuple[str, ...] = ()
    if not stack.simulated:
        settings |= {"BRIDGE": stack.bridge, "TABLE": stack.table}
    else:
        settings["ADDRESS"] = host.address
        namespace = f"/run/netns/{stack.namespace(host)}"
        wrapper = ("nsenter", f"--net={namespace}", "--")
    user = f"node-{host.node_id}"
    data_dir = stack.host_data_dir(host)
    return _python(stack, f"agent-{host.name}", settings, data_dir, user, wrapper)


def credentials_path(stack: Stack, user: str) -> Path:
    """Return the file that holds a bus user's password."""
    return stack.data_dir / "credentials" / f"{user}.json"


def image_store_token(stack: Stack) -> Path:
    """Return the file with the secret that opens the image store's HTTP endpoint."""
    return stack.data_dir / "credentials" / "image-store-token"


def write_credentials(stack: Stack) -> None:
    """Write each service's and each node's credentials, and each node's id."""
    folder = stack.data_dir / "credentials"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    users = dict(stack.passwords)
    users |= {f"node-{host.node_id}": host.password for host in stack.hosts}
    for user, password in users.items():
        text = json.dumps({"user": user, "password": password})
        write_secret(credentials_path(stack, user), text)
    if not image_store_token(stack).exists():
        write_secret(image_store_token(stack), secrets.token_urlsafe(32))
    for host in stack.hosts:
        stack.host_data_dir(host).mkdir(parents=True, exist_ok=True, mode=0o711)
        (stack.host_data_dir(host) / "node-id").write_text(f"{host.node_id}\n")
