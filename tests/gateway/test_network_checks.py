"""Twin of ``domain/network_checks.py``: dockerd's refusals of networks."""

from datetime import UTC, datetime

import pytest

from flotilla_core.errors import FlotillaError, PermissionDeniedError
from flotilla_engine.networking import Ipam, IpamConfig
from flotilla_engine.records import NetworkRecord
from flotilla_gateway.domain.network_checks import check_depending, check_request

BRIDGE = "com.docker.network.bridge"


def asked(**fields: object) -> NetworkRecord:
    known: dict[str, object] = {"id": "", "name": "net", "created": datetime.now(UTC)}
    return NetworkRecord.model_validate(known | fields)


def pool(**fields: object) -> Ipam:
    return Ipam(config=[IpamConfig.model_validate({"subnet": "10.61.0.0/24"} | fields)])


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (asked(name=" "), "invalid name:  "),
        (
            asked(options={f"{BRIDGE}.enable_icc": "maybe"}),
            f"failed to parse {BRIDGE}.enable_icc value: maybe (strconv.ParseBool: parsing "
            '"maybe": invalid syntax)',
        ),
        (asked(options={"com.docker.network.driver.mtu": "-3"}), "invalid MTU number: -3"),
        (
            asked(options={f"{BRIDGE}.host_binding_ipv4": "abc"}),
            f"failed to parse {BRIDGE}.host_binding_ipv4 value: abc (nil ip)",
        ),
        (asked(options={f"{BRIDGE}.name": "a" * 16}), "numerical result out of range"),
        (asked(ipam=Ipam(driver="null")), "ipv4 pool is empty"),
        (
            asked(ipam=pool(gateway="10.61.0.0")),
            "failed to allocate gateway (10.61.0.0): Address already in use",
        ),
        (
            asked(ipam=pool(auxiliary_addresses={"a": "10.61.0.5", "b": "10.61.0.5"})),
            "failed to allocate secondary ip address (b:10.61.0.5): Address already in use",
        ),
        (
            asked(driver="macvlan", options={"macvlan_mode": "x"}),
            "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan driver default",
        ),
    ],
)
def test_refusals(network: NetworkRecord, text: str) -> None:
    with pytest.raises(FlotillaError) as refused:
        check_request(network)
    assert refused.value.message == text


@pytest.mark.parametrize("field", ["internal", "attachable", "ingress"])
def test_configuration_network_has_no_operator_fields(field: str) -> None:
    with pytest.raises(PermissionDeniedError, match="can only contain network specific fields"):
        check_request(asked(config_only=True, **{field: True}))


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (asked(config_only=True), "cannot depend on another configuration network"),
        (asked(labels={"a": "b"}), "user specified configurations are not supported"),
        (asked(ipam=pool()), "user specified configurations are not supported"),
        (asked(options={"a": "b"}), "network driver options are not supported"),
    ],
)
def test_network_of_a_configuration_says_nothing_else(network: NetworkRecord, text: str) -> None:
    with pytest.raises(PermissionDeniedError, match=text):
        check_depending(network)
    check_depending(asked(internal=True))
