"""Brings a container's process up, and takes away what a run has needed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flotilla_core.errors import ConflictError, FlotillaError, InternalError, NotFoundError
from flotilla_engine.records import ContainerRecord, EndpointRecord
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.store import Stored
from flotilla_runtime_agent.ports import Attachment, Joining, Sandbox
from flotilla_runtime_agent.runtime import cgroup, conmon, mounting, oci
from flotilla_runtime_agent.runtime.conmon import Monitored, Monitoring
from flotilla_runtime_agent.runtime.processes import ProcessRef
from flotilla_runtime_agent.spec import files
from flotilla_runtime_agent.spec.build import SpecInput, build
from flotilla_runtime_agent.spec.inroot import make_folders, open_in_root
from flotilla_runtime_agent.spec.mounts import DEFAULT_SHM_BYTES, PlannedMount, planned

_LOG = logging.getLogger(__name__)
PROCESS_FILE = "process.json"
"""In the bundle: what execs inherit, apart from the rest of the specification, which is long."""


@dataclass(frozen=True)
class Peer:
    """A running container whose namespaces another one joins."""

    record: ContainerRecord
    process: ProcessRef


Peers = Callable[[str], Peer]


@dataclass(frozen=True)
class Launched:
    """A process that is up, waiting to be let run."""

    monitored: Monitored
    attachment: Attachment | None


class Launch:
    """One start of one container."""

    def __init__(
        self, host: Host, stored: Stored, peers: Peers, attached: Callable[[], None]
    ) -> None:
        """Prepare nothing yet; ``attached`` is called when the networks are joined."""
        self._host = host
        self._stored = stored
        self._record = stored.record
        self._peers = peers
        self._attached = attached
        self._bundle = host.paths.bundle(stored.record.id)
        self._folder = host.store.folder(stored.record.id)

    async def up(self) -> Launched:
        """Make everything ready and create the process.

        Raises:
            FlotillaError: With dockerd's text.
            RuntimeFailedError: With the runtime's. ``clear`` removes what was made.
        """
        record = self._record
        runtime = self._host.runtime(record.host_config.runtime)
        _make_empty(self._bundle)
        root = await self._host.snapshots.mount(record.id)
        user_mounts, propagation = await self._user_mounts()
        self._write_files(None)
        sandbox, netns = await self._network_namespace()
        is_wired_first = bool(record.host_config.links or record.host_config.sysctls)
        attachment = await self._attach(sandbox) if is_wired_first else None
        spec = build(
            SpecInput(
                container_id=record.id,
                config=record.config,
                host=record.host_config,
                command=[record.path, *record.args],
                root=root,
                cgroup=cgroup_of(self._host, record),
                netns=netns,
                joined=self._joined(),
                mounts=user_mounts,
                rootfs_propagation=propagation,
                files=self._file_binds(),
                shared_shm=self._shared_shm(),
                init=self._init(),
                linked_env=attachment.env if attachment else (),
            )
        )
        (self._bundle / "config.json").write_text(json.dumps(spec))
        base = {"root": str(root), "process": spec["process"]}
        (self._bundle / PROCESS_FILE).write_text(json.dumps(base))
        monitoring = self._monitoring(runtime)
        if is_wired_first:
            return Launched(await conmon.create(monitoring), attachment)
        # The wiring goes on while the runtime works; neither needs the other.
        created, wired = await asyncio.gather(
            conmon.create(monitoring), self._attach(sandbox), return_exceptions=True
        )
        for outcome in (wired, created):
            if isinstance(outcome, BaseException):
                if isinstance(created, Monitored):
                    await discard(created)
                raise outcome
        assert isinstance(created, Monitored)  # narrowed by the loop above
        assert wired is None or isinstance(wired, Attachment)
        return Launched(created, wired)

    def _monitoring(self, runtime: conmon.OciRuntime) -> Monitoring:
        config = self._record.config
        keeps_log = self._record.host_config.log_config.type != "none"
        return Monitoring(
            conmon=self._host.paths.conmon,
            runtime=runtime,
            container_id=self._record.id,
            bundle=self._bundle,
            log=conmon.log_to(self._host.paths.log(self._record.id))
            if keeps_log
            else conmon.NO_LOG,
            terminal=config.tty,
            stdin=config.open_stdin,
            leave_stdin_open=config.open_stdin and (config.tty or not config.stdin_once),
        )

    async def _network_namespace(self) -> tuple[Sandbox | None, Path | None]:
        mode = self._record.host_config.network_mode
        if mode == "host":
            return None, None
        if mode.startswith("container:"):
            return None, Path(f"/proc/{self._peer(mode).process.pid}/ns/net")
        sandbox = await self._host.networks.create_sandbox(self._record.id)
        self._record.sandbox_id, self._record.sandbox_key = sandbox.id, str(sandbox.key)
        return sandbox, sandbox.key

    async def _attach(self, sandbox: Sandbox | None) -> Attachment | None:
        if sandbox is None:
            return None
        attachment = await self._host.networks.attach(
            joining_of(self._record, self._stored.endpoints), sandbox
        )
        self._record.networks = attachment.networks
        self._record.ports = attachment.ports
        self._write_files(attachment)
        self._attached()
        return attachment

    def _peer(self, mode: str) -> Peer:
        return self._peers(mode.removeprefix("container:"))

    def _joined(self) -> dict[str, Path]:
        host = self._record.host_config
        joined = {}
        for kind, mode in (("pid", host.pid_mode), ("ipc", host.ipc_mode), ("uts", host.uts_mode)):
            if mode.startswith("container:"):
                joined[kind] = Path(f"/proc/{self._peer(mode).process.pid}/ns/{kind}")
        return joined

    def _shared_shm(self) -> Path | None:
        host = self._record.host_config
        if host.ipc_mode == "host":
            return Path("/dev/shm")
        if host.ipc_mode.startswith("container:"):
            peer = self._peer(host.ipc_mode).record
            if peer.host_config.ipc_mode not in ("shareable", "host"):
                raise ConflictError(
                    f"cannot join IPC of a container {peer.id}: non-shareable IPC "
                    "(hint: use IpcMode:shareable for the donor container)"
                )
            return self._host.store.folder(peer.id) / "shm"
        if host.ipc_mode == "shareable":
            folder = self._folder / "shm"
            mounting.mount_shm(folder, host.shm_size or DEFAULT_SHM_BYTES)
            return folder
        return None

    def _init(self) -> Path | None:
        host = self._record.host_config
        if not host.init or host.pid_mode:
            return None
        if not self._host.paths.init.exists():
            raise InternalError('exec: "docker-init": executable file not found in $PATH')
        return self._host.paths.init

    def _file_binds(self) -> dict[str, Path]:
        binds = {
            "/etc/resolv.conf": self._record.resolv_conf_path,
            "/etc/hostname": self._record.hostname_path,
            "/etc/hosts": self._record.hosts_path,
        }
        return {place: Path(path) for place, path in binds.items() if path}

    def _write_files(self, attachment: Attachment | None) -> None:
        """Write hostname, hosts and resolv.conf; before the wiring they only have to exist."""
        record = self._record
        mode = record.host_config.network_mode
        if mode.startswith("container:"):
            peer = self._peer(mode).record
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

    async def _user_mounts(self) -> tuple[list[dict[str, Any]], str]:
        """Make the user's mounts ready; returns them and the root's propagation."""
        result, propagation = [], ""
        for mount in self._stored.mounts:
            source = await self._ready(mount)
            result.append(planned(mount, source))
            if mount.type == "bind":
                propagation = _root_propagation(mount, propagation)
        return result, propagation

    async def _ready(self, mount: PlannedMount) -> str:
        match mount.type:
            case "volume":
                mounted = await self._host.volumes.mount(mount.name, self._record.id)
                return _subpath(mounted.path, mount.subpath)
            case "image":
                return await self._image_mount(mount)
            case "bind":
                _have_source(mount)
                return mount.source
            case _:
                return ""

    async def _image_mount(self, mount: PlannedMount) -> str:
        image = self._stored.image_mounts.get(mount.source)
        if image is None:
            raise NotFoundError(f"No such image: {mount.source}")
        target = image_mount_folder(self._folder, mount)
        target.mkdir(parents=True, exist_ok=True)
        await self._host.snapshots.fetch(image)
        await self._host.snapshots.mount_image(image, target)
        return _subpath(target, mount.subpath)


def _make_empty(bundle: Path) -> None:
    """Have the folder, without an exit file of a former run."""
    if bundle.exists():
        shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(mode=0o700, parents=True, exist_ok=True)


def _have_source(mount: PlannedMount) -> None:
    source = Path(mount.source)
    if source.exists() or source.is_symlink():
        return
    if mount.skip_create:
        raise InternalError(
            f'invalid mount config for type "bind": bind source path does not exist: {source}'
        )
    source.mkdir(parents=True, exist_ok=True)


def image_mount_folder(folder: Path, mount: PlannedMount) -> Path:
    """Return where an image is mounted for a container."""
    return folder / "images" / mount.destination.strip("/").replace("/", "_")


def _subpath(root: Path, subpath: str) -> str:
    """Return a path below a volume's root; links do not lead out of it."""
    if not subpath:
        return str(root)
    try:
        fd = open_in_root(root, subpath, os.O_PATH)
    except OSError as error:
        path = root / subpath
        reason = (error.strerror or "").lower()
        raise InternalError(f"cannot access path {path}: lstat {path}: {reason}") from error
    try:
        return str(Path(f"/proc/self/fd/{fd}").readlink())
    finally:
        os.close(fd)


def _root_propagation(mount: PlannedMount, before: str) -> str:
    """Check a bind's propagation against its source's, and say what the root needs."""
    if mount.propagation in ("shared", "rshared"):
        point, is_shared, _ = mounting.source_is_shared(Path(mount.source))
        if not is_shared:
            raise InternalError(
                f"path {mount.source} is mounted on {point} but it is not a shared mount"
            )
        return mount.propagation
    if mount.propagation in ("slave", "rslave"):
        point, is_shared, is_slave = mounting.source_is_shared(Path(mount.source))
        if not (is_shared or is_slave):
            raise InternalError(
                f"path {mount.source} is mounted on {point} but it is not a shared or slave mount"
            )
        return before or "rslave"
    return before


def write_network_files(folder: Path, attachment: Attachment) -> None:
    """Write what the network decides, into the files that the container sees."""
    files.write_in_place(folder / "hosts", files.hosts(attachment.hosts))
    text = files.resolv_conf(attachment.nameservers, attachment.search, attachment.resolv_options)
    files.write_in_place(folder / "resolv.conf", text)


def joining_of(record: ContainerRecord, endpoints: Sequence[EndpointRecord]) -> Joining:
    """Describe a container to the networks."""
    return Joining(
        container_id=record.id,
        name=record.name,
        hostname=record.config.hostname,
        domainname=record.config.domainname,
        host_config=record.host_config,
        exposed_ports=list(record.config.exposed_ports),
        endpoints=list(endpoints),
        labels=record.config.labels,
    )


def cgroup_of(host: Host, record: ContainerRecord) -> str:
    """Return the container's cgroup path."""
    parent = record.host_config.cgroup_parent or host.cgroup_parent
    return f"{parent.rstrip('/') if parent.startswith('/') else '/' + parent}/{record.id}"


async def discard(monitored: Monitored) -> None:
    """End a process that is not to run after all, and its monitor."""
    monitored.process.kill()
    if monitored.child is not None:
        await monitored.child.wait()


def has_traces(host: Host, stored: Stored) -> bool:
    """Whether there may be something for ``clear``; the bundle is made first and goes last."""
    record = stored.record
    is_bundled = host.paths.bundle(record.id).exists()
    return is_bundled or bool(record.sandbox_id) or record.state.running


async def clear(host: Host, stored: Stored) -> None:
    """Take away everything that a run has needed; calling it twice is harmless."""
    record = stored.record
    bundle = host.paths.bundle(record.id)
    runtime = host.runtimes.get(record.host_config.runtime or host.default_runtime)
    try:
        await cgroup.remove(cgroup_of(host, record))
    except TimeoutError:
        _LOG.error("container %s: processes in its cgroup do not end", record.id)
    if runtime is not None:
        await oci.delete(runtime, record.id)
    try:
        if record.host_config.network_mode != "host":
            await host.networks.detach(record.id)
    except FlotillaError:
        _LOG.exception("container %s: network not detached", record.id)
    folder = host.store.folder(record.id)
    for mount in stored.mounts:
        if mount.type == "volume":
            await host.volumes.unmount(mount.name, record.id)
        elif mount.type == "image":
            mounting.unmount(image_mount_folder(folder, mount))
    if record.host_config.ipc_mode == "shareable":
        mounting.unmount(folder / "shm")
    await host.snapshots.unmount(record.id)
    shutil.rmtree(bundle, ignore_errors=True)


async def prepare_root(host: Host, stored: Stored) -> None:
    """At create: have the working folder, and fill new volumes from the image.

    Raises:
        FlotillaError: With dockerd's text.
    """
    record = stored.record
    workdir = record.config.working_dir
    fresh = [mount for mount in stored.mounts if mount.type == "volume" and not mount.no_copy]
    if not fresh and workdir in ("", "/"):
        return
    root = await host.snapshots.mount(record.id)
    try:
        if workdir not in ("", "/"):
            _make_workdir(root, workdir)
        for mount in fresh:
            if not mount.subpath:
                await host.volumes.copy_up(mount.name, root, mount.destination)
    finally:
        await host.snapshots.unmount(record.id)


def _make_workdir(root: Path, workdir: str) -> None:
    try:
        make_folders(root, workdir)
    except NotADirectoryError as error:
        raise InternalError(f"Cannot mkdir: {workdir} is not a directory") from error
    except OSError as error:
        raise InternalError(f"mkdir {workdir}: {(error.strerror or '').lower()}") from error
