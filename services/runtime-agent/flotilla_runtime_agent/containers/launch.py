"""Brings a container's process up."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from flotilla_core.errors import ConflictError, InternalError
from flotilla_core.ids import new_id
from flotilla_runtime_agent.containers import clearing
from flotilla_runtime_agent.containers.etc_files import EtcFiles
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.peers import Peer, Peers, joining_of
from flotilla_runtime_agent.containers.sources import Sources
from flotilla_runtime_agent.containers.store import Stored
from flotilla_runtime_agent.ports import Attachment, Sandbox
from flotilla_runtime_agent.runtime import conmon, mounting
from flotilla_runtime_agent.runtime.conmon import Monitored, Monitoring
from flotilla_runtime_agent.spec import apparmor
from flotilla_runtime_agent.spec.build import SpecInput, build
from flotilla_runtime_agent.spec.mounts import DEFAULT_SHM_BYTES

_LOG = logging.getLogger(__name__)
PROCESS_FILE = "process.json"
"""In the bundle: what execs inherit, apart from the rest of the specification, which is long."""


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
        self._files = EtcFiles(self._folder, stored.record, peers)

    async def up(self) -> Monitored:
        """Make everything ready and create the process.

        Raises:
            FlotillaError: With dockerd's text.
            RuntimeFailedError: With the runtime's. ``clear`` removes what was made.
        """
        record = self._record
        runtime = self._host.runtime(record.host_config.runtime)
        _make_empty(self._bundle)
        root = await self._host.snapshots.mount(record.id)
        user_mounts, propagation = await Sources(self._host, self._stored).ready()
        self._files.write(None)
        sandbox, netns = await self._network_namespace()
        is_wired_first = bool(record.host_config.links or record.host_config.sysctls)
        attachment = await self._attach(sandbox) if is_wired_first else None
        profile = apparmor.profile_of(record.host_config)
        if profile:
            record.apparmor_profile = profile
            await asyncio.to_thread(apparmor.ensure_loaded, profile)
        spec = build(
            SpecInput(
                container_id=record.id,
                config=record.config,
                host=record.host_config,
                command=[record.path, *record.args],
                root=root,
                cgroup=self._host.cgroup(record),
                netns=netns,
                joined=self._joined(),
                mounts=user_mounts,
                rootfs_propagation=propagation,
                files=self._files.binds(),
                shared_shm=self._shared_shm(),
                init=self._init(),
                linked_env=attachment.env if attachment else (),
                apparmor_profile=profile,
            )
        )
        (self._bundle / "config.json").write_text(json.dumps(spec))
        base = {"root": str(root), "process": spec["process"]}
        (self._bundle / PROCESS_FILE).write_text(json.dumps(base))
        monitoring = self._monitoring(runtime)
        if is_wired_first:
            return await conmon.create(monitoring)
        # The wiring goes on while the runtime works; neither needs the other.
        created, wired = await asyncio.gather(
            conmon.create(monitoring), self._attach(sandbox), return_exceptions=True
        )
        for outcome in (wired, created):
            if isinstance(outcome, BaseException):
                if isinstance(created, Monitored):
                    await clearing.discard(created)
                raise outcome
        assert isinstance(created, Monitored)  # narrowed by the loop above
        return created

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
            for settings in self._record.networks.values():
                settings.endpoint_id = new_id()
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
        self._files.write(attachment)
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


def _make_empty(bundle: Path) -> None:
    """Have the folder, without an exit file of a former run."""
    if bundle.exists():
        shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(mode=0o700, parents=True, exist_ok=True)
