"""Changes to a container that is there: name, limits, networks."""

from __future__ import annotations

from pathlib import Path

from flotilla_core.errors import ConflictError, InternalError
from flotilla_engine.records import EndpointRecord
from flotilla_engine.updates import UpdateConfig
from flotilla_runtime_agent.containers.container import Container
from flotilla_runtime_agent.containers.etc_files import write_network_files
from flotilla_runtime_agent.containers.peers import joining_of
from flotilla_runtime_agent.ports import Attachment, Sandbox
from flotilla_runtime_agent.runtime import oci
from flotilla_runtime_agent.runtime.conmon import RuntimeFailedError
from flotilla_runtime_agent.spec import cgroups

_POLICY = "restart_policy"


async def rename(container: Container, name: str) -> None:
    """Give it another name, without a leading slash."""
    async with container.lock:
        old = container.record.name
        container.record.name = name
        container.save()
        container.event("rename", oldName=f"/{old}")


async def update(container: Container, asked: UpdateConfig) -> None:
    """Change limits and the restart policy; what was not asked for stays.

    Raises:
        FlotillaError: If the kernel refuses; the old limits stay then.
    """
    async with container.lock:
        host = container.record.host_config
        if container.stored.is_removing or container.is_gone:
            raise ConflictError(
                f"Cannot update container {container.id}: container is marked for removal and "
                "cannot be updated"
            )
        changes = {
            name: value
            for name in type(asked).model_fields
            if (value := getattr(asked, name)) and name != _POLICY
        }
        changed = host.model_copy(update=changes)
        if asked.nano_cpus:
            changed.cpu_period = changed.cpu_quota = 0
        if asked.restart_policy.name:
            changed.restart_policy = asked.restart_policy
        if container.is_live and changes:
            runtime = container.host.runtime(host.runtime)
            try:
                await oci.update(runtime, container.id, cgroups.resources(changed))
            except RuntimeFailedError as error:
                raise InternalError(
                    f"Cannot update container {container.id}: {runtime.name} did not terminate "
                    f"successfully: exit status 1: {error}\n: unknown"
                ) from error
        container.record.host_config = changed
        container.save()
        container.event("update")


async def connect(container: Container, endpoint: EndpointRecord) -> None:
    """Add a network, at once if it runs. Raises: FlotillaError."""
    async with container.lock:
        container.stored.endpoints = [
            item for item in container.stored.endpoints if item.network_id != endpoint.network_id
        ]
        sandbox = _sandbox(container)
        if container.is_live and sandbox is not None:
            joining = joining_of(container.record, [*container.stored.endpoints, endpoint])
            attachment = await container.host.networks.connect(joining, sandbox, endpoint)
            _take(container, attachment)
        else:
            settings = endpoint.settings.model_copy()
            settings.network_id = endpoint.network_id
            container.record.networks[endpoint.network_name] = settings
        container.stored.endpoints.append(endpoint)
        container.save()
        _tell(container, "connect", endpoint.network_id, endpoint.network_name)


async def disconnect(container: Container, network_id: str, network_name: str) -> None:
    """Take a network away, at once if it runs. Raises: FlotillaError."""
    async with container.lock:
        kept = [item for item in container.stored.endpoints if item.network_id != network_id]
        sandbox = _sandbox(container)
        if container.is_live and sandbox is not None:
            joining = joining_of(container.record, kept)
            attachment = await container.host.networks.disconnect(joining, sandbox, network_id)
            _take(container, attachment)
        container.record.networks.pop(network_name, None)
        container.stored.endpoints = kept
        container.save()
        _tell(container, "disconnect", network_id, network_name)


def _sandbox(container: Container) -> Sandbox | None:
    record = container.record
    if not record.sandbox_key:
        return None
    return Sandbox(record.sandbox_id, Path(record.sandbox_key))


def _take(container: Container, attachment: Attachment) -> None:
    record = container.record
    record.networks, record.ports = attachment.networks, attachment.ports
    write_network_files(container.host.store.folder(record.id), attachment)


def _tell(container: Container, action: str, network_id: str, name: str) -> None:
    kind = container.host.networks.driver_of(network_id)
    attributes = {"container": container.id, "name": name, "type": kind}
    container.host.outlet.event("network", action, network_id, attributes)
