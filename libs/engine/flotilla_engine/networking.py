"""Networks as the Engine API spells them: endpoint settings and address management."""

from pydantic import Field

from flotilla_engine.model import EngineModel, Int64


class EndpointIPAMConfig(EngineModel):
    """``EndpointIPAMConfig``: addresses asked for."""

    ipv4_address: str = Field(default="", alias="IPv4Address")
    ipv6_address: str = Field(default="", alias="IPv6Address")
    link_local_ips: list[str] = Field(default_factory=list, alias="LinkLocalIPs")


class EndpointSettings(EngineModel):
    """``EndpointSettings``: what was asked of a container's place in a network, and what came."""

    ipam_config: EndpointIPAMConfig | None = Field(default=None, alias="IPAMConfig")
    links: list[str] = Field(default_factory=list)
    aliases: list[str] = Field(default_factory=list)
    mac_address: str = ""
    driver_opts: dict[str, str] = Field(default_factory=dict)
    gw_priority: Int64 = 0
    network_id: str = Field(default="", alias="NetworkID")
    endpoint_id: str = Field(default="", alias="EndpointID")
    gateway: str = ""
    ip_address: str = Field(default="", alias="IPAddress")
    ip_prefix_len: Int64 = Field(default=0, alias="IPPrefixLen")
    ipv6_gateway: str = Field(default="", alias="IPv6Gateway")
    global_ipv6_address: str = Field(default="", alias="GlobalIPv6Address")
    global_ipv6_prefix_len: Int64 = Field(default=0, alias="GlobalIPv6PrefixLen")
    dns_names: list[str] = Field(default_factory=list, alias="DNSNames")


class NetworkingConfig(EngineModel):
    """``NetworkingConfig``: the networks of a new container."""

    endpoints_config: dict[str, EndpointSettings | None] = Field(default_factory=dict)


class IpamConfig(EngineModel):
    """``IPAMConfig``: one address pool."""

    subnet: str = ""
    ip_range: str = Field(default="", alias="IPRange")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = Field(default_factory=dict)


class Ipam(EngineModel):
    """``IPAM``: address management of a network."""

    driver: str = "default"
    config: list[IpamConfig] = Field(default_factory=list)
    options: dict[str, str] | None = None  # shown as they were asked for: null or {}
