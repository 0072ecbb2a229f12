"""What a stack is: its name, hosts, addresses and folders, kept in one file in its data folder."""

import hashlib
import ipaddress
import json
import re
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from flotilla_cli.failure import CommandError
from flotilla_core.ids import new_node_id

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
DEFAULT_NAME = "default"
DATA_ROOT = Path("/var/lib/flotilla")
RUN_ROOT = Path("/run/flotilla")
SERVICES = ("nats", "image-store", "registry-proxy", "gateway")
NATS_PORT = 4222
IMAGE_STORE_PORT = 5000
DIRECT_PORT = 2377
_MAX_HOSTS = 100


@dataclass(frozen=True)
class Host:
    """A host of the stack; simulated ones live in a network namespace of their own."""

    name: str
    node_id: str
    address: str
    number: int
    password: str


@dataclass(frozen=True)
class Stack:
    """A fleet on this machine."""

    name: str
    data_dir: Path
    simulated: bool
    control_address: str  # where hosts find bus, image store and gateway
    subnet: str  # of the simulated hosts; empty without them
    listen: tuple[str, ...]
    hosts: tuple[Host, ...] = ()
    passwords: dict[str, str] = field(default_factory=dict)  # on the bus, by service
    is_elsewhere: bool = False  # on real hosts, by `flotilla prepare`: nothing of it is ours to run

    @property
    def run_dir(self) -> Path:
        """Pid files and sockets; short, since a socket's path is limited to 108 bytes."""
        return RUN_ROOT / self.name

    @property
    def socket(self) -> Path:
        """The gateway's own unix socket, there whatever `listen` says."""
        return self.run_dir / "docker.sock"

    @property
    def uses_tls(self) -> bool:
        """Whether the gateway listens with TLS anywhere."""
        return any(endpoint.startswith("tls://") for endpoint in self.listen)

    @property
    def tls_dir(self) -> Path:
        """The folder of certificates, for the gateway and for clients (`DOCKER_CERT_PATH`)."""
        return self.data_dir / "tls"

    @property
    def mark(self) -> str:
        """Eight characters that name the stack where names are short (links, nft tables)."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:8]

    @property
    def nats_url(self) -> str:
        """Where the bus is."""
        return f"nats://{self.control_address}:{NATS_PORT}"

    @property
    def image_store_url(self) -> str:
        """Where agents and the registry proxy find the image store."""
        return f"http://{self.control_address}:{IMAGE_STORE_PORT}"

    def host_data_dir(self, host: Host) -> Path:
        """The agent's data folder."""
        return self.data_dir / "hosts" / host.name

    def host_run_dir(self, host: Host) -> Path:
        """The agent's folder for sockets and the like."""
        return self.run_dir / "h" / host.name

    @property
    def bridge(self) -> str:
        """The default bridge in this machine's own network, where other stacks may be too."""
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        return "flt0" if self.name == DEFAULT_NAME else f"flt-{digest[:8]}"

    @property
    def table(self) -> str:
        """The nftables table in this machine's own network."""
        return "flotilla" if self.name == DEFAULT_NAME else f"flotilla-{self.name}"

    def cgroup(self, host: Host) -> str:
        """The cgroup under which the host's containers are."""
        return f"/flotilla/{self.name}/{host.name}"

    def namespace(self, host: Host) -> str:
        """The network namespace of a simulated host."""
        return f"flt-{self.name}-{host.name}"

    def host(self, name: str) -> Host:
        """Return the host of that name."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise CommandError(f"no such host: {name} (there are: {known})")

    def save(self) -> None:
        """Write the stack's file; it holds passwords, so that only root may read it."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        text = json.dumps(asdict(self) | {"data_dir": str(self.data_dir)}, indent=2)
        write_secret(self.data_dir / "stack.json", text)
        DATA_ROOT.mkdir(parents=True, exist_ok=True, mode=0o711)
        _pointer(self.name).write_text(f"{self.data_dir}\n")

    def forget(self) -> None:
        """Remove the stack's data, its file included."""
        shutil.rmtree(self.data_dir, ignore_errors=True)
        _pointer(self.name).unlink(missing_ok=True)


def _pointer(name: str) -> Path:
    """Return the file that says where a stack's data is."""
    return DATA_ROOT / f"{name}.stack"


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)


def load(name: str, data_dir: Path | None = None) -> Stack | None:
    """Return the stack of that name, or None if it was never brought up (or was purged)."""
    if data_dir is None:
        pointer = _pointer(name)
        data_dir = Path(pointer.read_text().strip()) if pointer.exists() else DATA_ROOT / name
    try:
        read = json.loads((data_dir / "stack.json").read_text())
    except FileNotFoundError:
        return None
    except PermissionError:
        raise CommandError(f"the stack {name} belongs to root: run this with sudo") from None
    hosts = tuple(Host(**host) for host in read.pop("hosts"))
    listen = tuple(read.pop("listen"))
    return Stack(**{**read, "data_dir": data_dir, "hosts": hosts, "listen": listen})


def loaded(name: str) -> Stack:
    """Return the stack of that name."""
    stack = load(name)
    if stack is None:
        raise CommandError(f"there is no stack {name}; `flotilla up` makes one")
    return stack


def local(name: str) -> Stack:
    """Return the stack of that name, which `flotilla up` runs on this machine."""
    stack = loaded(name)
    if stack.is_elsewhere:
        raise CommandError(f"the fleet {name} is on real hosts: its services are systemd's")
    return stack


def new(
    name: str,
    data_dir: Path,
    listen: Iterable[str],
    simulated: bool,
    taken: Iterable[ipaddress.IPv4Network],
) -> Stack:
    """Describe a new stack, with addresses that collide with none of the `taken` networks."""
    if not NAME.fullmatch(name):
        raise CommandError(f"{name!r} is no stack name: small letters, digits and dashes, up to 31")
    mark = hashlib.sha256(name.encode()).digest()
    passwords = {service: secrets.token_urlsafe(24) for service in (*SERVICES[1:], "cli")}
    subnet = ""
    if simulated:
        subnet = str(_free_subnet(mark[0], list(taken)))
        control_address = str(next(ipaddress.IPv4Network(subnet).hosts()))
    else:
        control_address = f"127.{83 + mark[0] % 100}.{mark[1]}.{1 + mark[2] % 250}"
    return Stack(name, data_dir, simulated, control_address, subnet, tuple(listen), (), passwords)


def _free_subnet(start: int, taken: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    for step in range(256):
        subnet = ipaddress.IPv4Network(f"10.213.{(start + step) % 256}.0/24")
        if not any(subnet.overlaps(network) for network in taken):
            return subnet
    raise CommandError("no free /24 in 10.213.0.0/16 for the simulated hosts")


def with_hosts(stack: Stack, count: int, own_name: str) -> Stack:
    """Return the stack with at least `count` hosts; hosts that it has keep what they have."""
    if stack.simulated and count > _MAX_HOSTS:
        raise CommandError(f"at most {_MAX_HOSTS} hosts can be simulated on one machine")
    hosts = list(stack.hosts)
    for number in range(len(hosts) + 1, count + 1):
        address = stack.control_address
        if stack.simulated:
            address = str(ipaddress.IPv4Address(stack.control_address) + 9 + number)
        name = f"host{number}" if stack.simulated else own_name
        hosts.append(Host(name, new_node_id(), address, number, secrets.token_urlsafe(24)))
    return replace(stack, hosts=tuple(hosts))
