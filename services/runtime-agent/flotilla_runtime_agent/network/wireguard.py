"""A WireGuard interface of this host: the kernel's, or wireguard-go's where the kernel has none.

``wg`` (wireguard-tools) speaks to both. Everything here blocks briefly, in the caller's network
namespace.
"""

import errno
import ipaddress
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flotilla_runtime_agent.network.namespaces import write_sysctl
from flotilla_runtime_agent.network.netlink.links import WireGuardKind
from flotilla_runtime_agent.network.netlink.route import Address, Link, RouteSocket
from flotilla_runtime_agent.network.netlink.sockets import NetlinkError

_SOCKETS = Path("/run/wireguard")  # where wg looks for wireguard-go's
_TUN = Path("/dev/net/tun")
_COMMAND_S = 10.0
_END_S = 5.0
_KEEPALIVE_S = 25  # a node that lost its sessions says so at once, by its first handshake


class TunnelError(OSError):
    """The interface cannot be had; the text says why."""


@dataclass(frozen=True)
class Peer:
    """Another node: its key, where it is, and the one address that it has in the tunnel."""

    public_key: str
    endpoint: Address
    port: int
    address: Address

    @property
    def endpoint_text(self) -> str:
        """The endpoint as ``wg`` writes it."""
        host = f"[{self.endpoint}]" if self.endpoint.version == 6 else str(self.endpoint)
        return f"{host}:{self.port}"

    @property
    def allowed(self) -> str:
        """What may come from it, and goes to it."""
        return f"{self.address}/{self.address.max_prefixlen}"


def private_key(path: Path) -> str:
    """Return the public key of the private one in a file, which is made at the first time.

    Raises:
        TunnelError: If ``wg`` is not there.
    """
    if not path.exists():
        partial = path.with_suffix(".new")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(_wg("genkey"))
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    return _wg("pubkey", stdin=path.read_text()).strip()


class WireGuard:
    """The interface of one name.

    Args:
        route: Socket of the namespace that it is made in; the caller closes it.
        name: The interface's name; with wireguard-go unique on the machine, as its socket is.
        program: wireguard-go.
        key_path: File with the private key.
        run_folder: Gets a link to wireguard-go's socket, for who clears up after a power cut.
    """

    def __init__(
        self, route: RouteSocket, name: str, *, program: Path, key_path: Path, run_folder: Path
    ) -> None:
        """Touch nothing yet."""
        self._route = route
        self._name = name
        self._program = program
        self._key_path = key_path
        self._run_folder = run_folder

    def method(self) -> str:
        """Return what would encrypt.

        Raises:
            TunnelError: If nothing does.
        """
        if self._daemon() is None:
            if self._route.find_link(self._name) is not None:
                return "WireGuard"
            if self._add_kernel_link():
                self._route.delete_link(self._name)
                return "WireGuard"
        if shutil.which(self._program) is None:
            raise TunnelError("the kernel has no WireGuard, and wireguard-go is not installed")
        if not _TUN.exists():
            raise TunnelError(f"the kernel has no WireGuard, and {_TUN} is missing")
        return "WireGuard (wireguard-go)"

    def find(self) -> Link | None:
        """Return the interface, if it is there and up."""
        link = self._route.find_link(self._name)
        return link if link is not None and link.up else None

    def make(self, address: ipaddress.IPv6Interface, mtu: int) -> Link:
        """Have the interface up with this address; one that is there goes on as it is.

        Raises:
            TunnelError: If it cannot be made.
        """
        link = self._route.find_link(self._name)
        if link is None or address not in self._addresses(link):
            self.remove()  # also a process whose interface was taken away, and is ending
            if not self._add_kernel_link():
                self._start_daemon()
            link = self._route.link(self._name)
            write_sysctl(f"net/ipv6/conf/{self._name}/disable_ipv6", "0")
            self._route.add_address(link.index, address)
        if not link.up or link.mtu != mtu:
            self._route.change_link(link.index, up=True, mtu=mtu)
        return link

    def configure(self, public_key: str, port: int, peers: Iterable[Peer]) -> None:
        """Have the key, the port and exactly these peers; sessions with known ones go on.

        Raises:
            TunnelError: If the interface does not take it.
        """
        own, *others = [line.split("\t") for line in self._wg("show", "dump").splitlines()]
        words: list[str] = []
        if own[1] != public_key:
            words += ["private-key", str(self._key_path)]
        if own[2] != str(port):
            words += ["listen-port", str(port)]
        has = {fields[0]: (fields[2], fields[3]) for fields in others}
        wanted = {peer.public_key: peer for peer in peers}
        for key in has.keys() - wanted.keys():
            words += ["peer", key, "remove"]
        for key, peer in wanted.items():
            if has.get(key) != (peer.endpoint_text, peer.allowed):
                words += ["peer", key, "endpoint", peer.endpoint_text]
                words += ["persistent-keepalive", str(_KEEPALIVE_S), "allowed-ips", peer.allowed]
        if words:
            self._wg("set", *words)

    def remove(self) -> None:
        """Take the interface away, and the process that serves it; safe to repeat."""
        daemon = self._daemon()
        self._route.delete_link(self._name)
        if daemon is not None:
            _await_end(daemon)
        (_SOCKETS / f"{self._name}.sock").unlink(missing_ok=True)
        (self._run_folder / "wireguard.sock").unlink(missing_ok=True)

    def _addresses(self, link: Link) -> list[object]:
        return [address for _, address in self._route.addresses(link.index)]

    def _add_kernel_link(self) -> bool:
        try:
            self._route.add_link(self._name, WireGuardKind())
        except NetlinkError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOENT):
                return False
            raise TunnelError(f"{self._name} cannot be made: {error.strerror}") from error
        return True

    def _start_daemon(self) -> None:
        """Start wireguard-go, which goes into the background once the interface is there.

        Its first argument is a path of ours, so that it can be told whose it is.
        """
        self._run_folder.mkdir(parents=True, exist_ok=True)
        link = self._run_folder / "wireguard.sock"
        link.unlink(missing_ok=True)
        link.symlink_to(_SOCKETS / f"{self._name}.sock")
        try:
            done = subprocess.run(
                [str(self._run_folder / "wireguard-go"), self._name],
                executable=self._program,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=_COMMAND_S,
                start_new_session=True,
                env={},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TunnelError(f"wireguard-go does not start: {error}") from error
        if done.returncode != 0:
            raise TunnelError(f"wireguard-go does not start: {_last_line(done.stdout)}")

    def _daemon(self) -> int | None:
        """Return the process that serves the interface."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if len(words) > 1 and words[1] == self._name.encode() and _is_daemon(words[0]):
                    return int(folder.name)
        return None

    def _wg(self, verb: str, *words: str) -> str:
        return _wg(verb, self._name, *words)


def _is_daemon(word: bytes) -> bool:
    return word.rpartition(b"/")[2] == b"wireguard-go"


def _await_end(pid: int) -> None:
    """Wait for the end of a process whose interface is gone; kill it if it does not come."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([process], [], [], _END_S)[0]:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], _END_S)
    finally:
        os.close(process)


def _wg(*words: str, stdin: str = "") -> str:
    try:
        done = subprocess.run(
            ["wg", *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_S,
        )
    except FileNotFoundError as error:
        raise TunnelError("wg (wireguard-tools) is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise TunnelError(f"wg {words[0]} does not end") from error
    if done.returncode != 0:
        raise TunnelError(f"wg {words[0]}: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"
