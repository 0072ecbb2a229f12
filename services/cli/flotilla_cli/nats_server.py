"""The bus's server: its configuration with one user per service and node, and its readiness."""

import json
import shutil
import socket
import time
from pathlib import Path

from flotilla_bus.permissions import Permissions, node_permissions, service_permissions
from flotilla_cli.failure import CommandError
from flotilla_cli.processes import Process
from flotilla_cli.stack import NATS_PORT, Stack, write_secret

_READY_TIMEOUT_S = 30.0


def program() -> str:
    """Return the path of nats-server."""
    found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/sbin")
    if found is None:
        raise CommandError("nats-server is not installed; see `flotilla doctor`")
    return found


def config_path(stack: Stack) -> Path:
    """Return where the configuration is; it holds passwords."""
    return stack.data_dir / "nats" / "nats.conf"


def write_config(stack: Stack) -> None:
    """Write the configuration for the stack's services and hosts."""
    store = stack.data_dir / "nats" / "jetstream"
    store.mkdir(parents=True, exist_ok=True)
    write_secret(config_path(stack), configuration(stack, str(store)))


def configuration(stack: Stack, store: str) -> str:
    """Return the configuration for the stack's services and hosts, and JetStream's folder."""
    users = [
        _user(service, password, service_permissions(service))
        for service, password in stack.passwords.items()
    ]
    users += [
        _user(f"node-{host.node_id}", host.password, node_permissions(host.node_id))
        for host in stack.hosts
    ]
    config = {
        "server_name": f"flotilla-{stack.name}",
        "listen": f"{stack.control_address}:{NATS_PORT}",
        "jetstream": {"store_dir": store},
        "authorization": {"users": users},
        "max_payload": 8 * 1024 * 1024,
        "write_deadline": "30s",
        "ping_interval": "5s",  # connections of hosts that are cut off go in a quarter minute
        "ping_max": 2,
    }
    # nats-server's configuration language contains JSON.
    return json.dumps(config, indent=2) + "\n"


def _user(name: str, password: str, permissions: Permissions) -> dict[str, object]:
    return {
        "user": name,
        "password": password,
        "permissions": {
            "publish": list(permissions.publish),
            "subscribe": list(permissions.subscribe),
        },
    }


def wait_until_ready(process: Process, address: str) -> None:
    """Wait until the server greets.

    Raises:
        CommandError: If it ends, or does not greet in time.
    """
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, NATS_PORT), timeout=1) as connection:
                if connection.recv(5).startswith(b"INFO"):
                    return
        except OSError:
            if process.pid() is None:
                raise CommandError(f"nats-server ended: {process.last_words()}") from None
        time.sleep(0.05)
    raise CommandError(f"nats-server does not answer: {process.last_words()}")
