"""The container's own ``/etc/hostname``, ``/etc/hosts`` and ``/etc/resolv.conf``."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flotilla_core.errors import InternalError
from flotilla_engine.records import ContainerRecord
from flotilla_runtime_agent.containers.peers import Peers
from flotilla_runtime_agent.ports import Attachment
from flotilla_runtime_agent.spec import files


class EtcFiles:
    """The three files of one container."""

    def __init__(self, folder: Path, record: ContainerRecord, peers: Peers) -> None:
        """Keep them in the container's folder, or use those of the peer whose network it joins."""
        self._folder = folder
        self._record = record
        self._peers = peers

    def binds(self) -> dict[str, Path]:
        """Return the files by where the container sees them."""
        binds = {
            "/etc/resolv.conf": self._record.resolv_conf_path,
            "/etc/hostname": self._record.hostname_path,
            "/etc/hosts": self._record.hosts_path,
        }
        return {place: Path(path) for place, path in binds.items() if path}

    def write(self, attachment: Attachment | None) -> None:
        """Write hostname, hosts and resolv.conf; before the wiring they only have to exist."""
        record = self._record
        _check_name_servers(record.host_config.dns)
        mode = record.host_config.network_mode
        if mode.startswith("container:"):
            peer = self._peers(mode.removeprefix("container:")).record
            record.hostname_path = peer.hostname_path
            record.hosts_path = peer.hosts_path
            record.resolv_conf_path = peer.resolv_conf_path
            return
        record.hostname_path = str(self._folder / "hostname")
        record.hosts_path = str(self._folder / "hosts")
        record.resolv_conf_path = str(self._folder / "resolv.conf")
        files.write_in_place(self._folder / "hostname", f"{record.config.hostname}\n")
        if attachment is not None:
            write_network_files(self._folder, attachment)
        elif mode == "host":
            self._write_host_files()
        else:
            for name in ("hosts", "resolv.conf"):
                files.write_in_place(self._folder / name, "")

    def _write_host_files(self) -> None:
        host = self._record.host_config
        with suppress(OSError):
            text = Path("/etc/hosts").read_text()
            extra = [entry.partition(":") for entry in host.extra_hosts]
            text += "".join(f"{address}\t{name}\n" for name, _, address in extra)
            files.write_in_place(self._folder / "hosts", text)
        given = files.resolv_conf(host.dns, host.dns_search, host.dns_options)
        if not host.dns:
            with suppress(OSError):
                given = Path("/etc/resolv.conf").read_text()
        files.write_in_place(self._folder / "resolv.conf", given)


def _check_name_servers(addresses: Sequence[str]) -> None:
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InternalError(
                f'bad nameserver address {address}: ParseAddr("{address}"): unable to parse IP'
            ) from None


def write_network_files(folder: Path, attachment: Attachment) -> None:
    """Write what the network decides, into the files that the container sees."""
    files.write_in_place(folder / "hosts", files.hosts(attachment.hosts))
    text = files.resolv_conf(attachment.nameservers, attachment.search, attachment.resolv_options)
    files.write_in_place(folder / "resolv.conf", text)
