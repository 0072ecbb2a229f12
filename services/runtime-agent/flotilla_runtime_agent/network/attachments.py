"""What the container core is told of a container's networks: ``ports.Attachment``."""

from collections.abc import Iterable

from flotilla_runtime_agent.network import resolv
from flotilla_runtime_agent.network.hosts import (
    LinkTarget,
    extra_lines,
    link_environment,
    link_lines,
    own_lines,
)
from flotilla_runtime_agent.network.ports import listing
from flotilla_runtime_agent.network.sandboxes import SandboxRecord
from flotilla_runtime_agent.network.specs import (
    DEFAULT_NETWORK,
    NO_NETWORK,
    gateway_endpoint,
    is_in_user_network,
    settings_in_force,
)
from flotilla_runtime_agent.ports import Attachment, Joining


def describe(record: SandboxRecord, joining: Joining) -> None:
    """Write into the record what of a container the network will need again."""
    config = joining.host_config
    record.name = joining.name
    record.hostname = joining.hostname
    record.exposed_ports = list(joining.exposed_ports)
    record.forwarders = list(resolv.forwarders(resolv.of_host(), config.dns))
    record.forwards_inside = bool(config.dns)
    record.ndots_set = any(option.startswith("ndots:") for option in config.dns_options)


def attachment(
    record: SandboxRecord, joining: Joining, others: Iterable[SandboxRecord], host_gateway: str
) -> Attachment:
    """Return what joining came to; ``others`` are the containers that links may name."""
    config = joining.host_config
    resolver = resolv.for_container(
        resolv.of_host(),
        dns=config.dns,
        search=config.dns_search,
        options=config.dns_options,
        embedded=is_in_user_network(record.wired),
    )
    networks = {
        one.endpoint.network_name: settings_in_force(
            one, is_default=one.endpoint.network_name == DEFAULT_NETWORK
        )
        for one in record.wired
    }
    for endpoint in joining.endpoints:
        if endpoint.network_name == NO_NETWORK:
            settings = endpoint.settings.model_copy()
            settings.network_id, settings.endpoint_id = endpoint.network_id, endpoint.id
            networks[endpoint.network_name] = settings
    known = list(others) if config.links else []

    def find(reference: str) -> LinkTarget | None:
        return _link_target(known, reference)

    lines = extra_lines(config.extra_hosts, host_gateway)
    lines += link_lines(config.links, find)
    for one in record.wired:
        lines += own_lines(one.addresses, joining.hostname, joining.domainname)
    can_publish = gateway_endpoint(record.wired) is not None
    return Attachment(
        networks=networks,
        ports=listing(joining.exposed_ports, record.published) if can_publish else {},
        hosts=lines,
        nameservers=list(resolver.nameservers),
        search=list(resolver.search),
        resolv_options=list(resolver.options),
        env=link_environment(config.links, joining.name, find),
    )


def _link_target(known: Iterable[SandboxRecord], reference: str) -> LinkTarget | None:
    for record in known:
        if reference != record.name and not record.container_id.startswith(reference):
            continue
        for one in record.wired:
            if one.endpoint.network_name == DEFAULT_NETWORK:
                address = one.addresses[0].split("/")[0]
                return LinkTarget(record.name, record.hostname, address, record.exposed_ports)
    return None
