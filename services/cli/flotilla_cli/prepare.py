"""Writes the files of a fleet on real hosts: users of the bus, settings, a folder per host.

Nothing is started: that is systemd's. What a file says once it keeps; hosts can be added later.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from flotilla_cli import nats_server, services, stack
from flotilla_cli.failure import CommandError
from flotilla_cli.stack import DIRECT_PORT, IMAGE_STORE_PORT, Stack, write_secret

FOLDER = Path("/etc/flotilla")
_STORE = "/var/lib/nats/jetstream"
_SOCKET = "unix:///run/flotilla/docker.sock"


def prepare(name: str, folder: Path, control: str, hosts: Sequence[str]) -> Iterator[str]:
    """Write what is missing, and say what is where.

    Args:
        name: What `flotilla node … --name` calls the fleet.
        folder: Where the files go; the systemd units read FOLDER.
        control: The address at which hosts reach the machine with bus, image store and gateway.
        hosts: Names of the hosts; those that are known already stay.

    Raises:
        CommandError: If that name is a stack's of `flotilla up`.
    """
    fleet = _described(name, folder, control, hosts)
    fleet.save()
    services.write_credentials(fleet)
    write_secret(folder / "nats.conf", nats_server.configuration(fleet, _STORE))
    yield f"{folder}/nats.conf: for nats-server"
    for service in ("image-store", "registry-proxy", "gateway"):
        path = folder / f"{service}.env"
        if not path.exists():
            _write_settings(path, service, _settings(fleet, service))
        yield f"{path}: for flotilla-{service}"
    for host in fleet.hosts:
        own = fleet.host_data_dir(host)
        shutil.copy(services.credentials_path(fleet, f"node-{host.node_id}"), own / "node.json")
        shutil.copy(services.image_store_token(fleet), own / "image-store.token")
        if not (own / "agent.env").exists():
            _write_settings(own / "agent.env", "runtime-agent", _agent(fleet, host.name))
        yield f"{own}: for {host.name}, to be copied there"


def _described(name: str, folder: Path, control: str, hosts: Sequence[str]) -> Stack:
    known = stack.load(name)
    if known is None:
        known = stack.new(name, folder.absolute(), (), False, [])
        known = replace(known, control_address=control, is_elsewhere=True)
    elif not known.is_elsewhere or known.data_dir != folder.absolute():
        raise CommandError(f"there is another fleet {name}, in {known.data_dir}; give a --name")
    for host in hosts:
        if all(host != other.name for other in known.hosts):
            known = stack.with_hosts(known, len(known.hosts) + 1, host)
    return replace(known, control_address=control)


def _settings(fleet: Stack, service: str) -> dict[str, str]:
    common = {
        "NATS_URL": fleet.nats_url,
        "NATS_CREDENTIALS": str(services.credentials_path(fleet, service)),
    }
    token = str(services.image_store_token(fleet))
    match service:
        case "image-store":
            return common | {
                "LISTEN": f"{fleet.control_address}:{IMAGE_STORE_PORT}",
                "TOKEN_FILE": token,
            }
        case "registry-proxy":
            return common | {
                "IMAGE_STORE_URL": fleet.image_store_url,
                "IMAGE_STORE_TOKEN_FILE": token,
            }
        case _:
            return common | {
                "LISTEN": _SOCKET,
                "DIRECT_LISTEN": f"{fleet.control_address}:{DIRECT_PORT}",
            }


def _agent(fleet: Stack, host: str) -> dict[str, str]:
    """Return a host's settings; the paths are those of install-agent."""
    return {
        "NATS_URL": fleet.nats_url,
        "NATS_CREDENTIALS": str(FOLDER / "agent.credentials"),
        "IMAGE_STORE_URL": fleet.image_store_url,
        "IMAGE_STORE_TOKEN_FILE": str(FOLDER / "image-store.token"),
        "NODE_NAME": host,
    }


def _write_settings(path: Path, service: str, settings: dict[str, str]) -> None:
    prefix = f"FLOTILLA_{service.upper().replace('-', '_')}_"
    write_secret(path, "".join(f"{prefix}{key}={value}\n" for key, value in settings.items()))
