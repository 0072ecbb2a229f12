"""Twin of flotilla_gateway.domain.ipam; the texts are what dockerd 26 answered."""

import ipaddress

import pytest

from flotilla_core.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError
from flotilla_engine.networking import Ipam, IpamConfig
from flotilla_gateway.domain import ipam


def network(text: str) -> ipam.Subnet:
    return ipaddress.ip_network(text)


@pytest.mark.parametrize(
    ("configs", "text"),
    [
        ([{"Subnet": "10.0.0.1/8"}], "invalid subnet 10.0.0.1/8: it should be 10.0.0.0/8"),
        ([{"Subnet": "foo"}], "invalid subnet foo: invalid CIDR block notation"),
        ([{"Gateway": "10.1.0.1"}], "invalid subnet : invalid CIDR block notation"),
        (
            [{"Subnet": "10.1.0.0/16", "Gateway": "x"}],
            "invalid gateway x: invalid address",
        ),
        (
            [
                {"Subnet": "10.1.0.0/16", "IPRange": "10.0.0.0/8"},
                {
                    "Subnet": "10.2.0.0/16",
                    "IPRange": "10.3.0.0/24",
                    "Gateway": "1.2.3.4",
                    "AuxiliaryAddresses": {"a": "zz"},
                },
            ],
            "* invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet "
            "10.1.0.0/16\n"
            "* invalid ip-range 10.3.0.0/24: parent subnet 10.2.0.0/16 doesn't contain ip-range\n"
            "* invalid gateway 1.2.3.4: parent subnet 10.2.0.0/16 doesn't contain this address\n"
            "* invalid auxiliary address a: invalid address",
        ),
    ],
)
def test_wrong_pools_are_refused(configs: list[dict[str, object]], text: str) -> None:
    wanted = Ipam(config=[IpamConfig.model_validate(config) for config in configs])
    with pytest.raises(InvalidArgumentError) as raised:
        ipam.validate(wanted, enable_ipv6=False)
    assert raised.value.message == f"invalid network config:\n{text}"


def test_default_pools_avoid_what_is_taken() -> None:
    taken = [network("172.18.0.0/16"), network("172.19.4.0/24"), network("fd00::/8")]
    assert ipam.default_subnet(ipam.DEFAULT_POOLS, taken) == network("172.20.0.0/16")
    taken += [network("172.16.0.0/12"), network("192.168.0.0/19")]
    assert ipam.default_subnet(ipam.DEFAULT_POOLS, taken) == network("192.168.32.0/20")
    with pytest.raises(NotFoundError, match="could not find an available, non-overlapping IPv4"):
        ipam.default_subnet(ipam.DEFAULT_POOLS, [network("0.0.0.0/0")])


def test_default_pools_can_be_set() -> None:
    pools = ipam.parsed_pools("10.200.0.0/16:24, fd12::/48:64")
    assert ipam.default_subnet(pools, [network("10.200.0.0/24")]) == network("10.200.1.0/24")
    assert ipam.default_subnet(pools, [], version=6) == network("fd12::/64")
    for wrong in ("10.0.0.0/16", "10.0.0.0/16:8", "x:24"):
        with pytest.raises(InvalidArgumentError, match="invalid default address pool"):
            ipam.parsed_pools(wrong)


def test_a_subnet_of_another_network_is_refused() -> None:
    with pytest.raises(PermissionDeniedError, match=r"^Pool overlaps with other one on this"):
        ipam.refuse_overlap(network("10.1.2.0/24"), [network("10.1.0.0/16")])
    ipam.refuse_overlap(network("10.2.0.0/24"), [network("10.1.0.0/16"), network("fd00::/8")])


def test_addresses_are_leased_from_the_range_lowest_first() -> None:
    pool = ipam.pool_of(
        IpamConfig.model_validate(
            {
                "Subnet": "10.5.0.0/24",
                "IPRange": "10.5.0.128/30",
                "AuxiliaryAddresses": {"router": "10.5.0.129"},
            }
        )
    )
    assert str(pool.gateway) == "10.5.0.1"
    used: set[str] = set()
    for wanted in ("10.5.0.128", "10.5.0.130", "10.5.0.131"):
        address = ipam.lease([pool], 4, "", used)
        assert address == wanted
        used.add(wanted)
    with pytest.raises(ipam.PoolExhaustedError, match="no available IPv4 addresses"):
        ipam.lease([pool], 4, "", used)
    assert ipam.lease([pool], 4, "10.5.0.200", used) == "10.5.0.200"
    assert ipam.lease([pool], 6, "", used) is None
    for taken in ("10.5.0.128", "10.5.0.1"):
        with pytest.raises(PermissionDeniedError, match=r"^Address already in use$"):
            ipam.lease([pool], 4, taken, used)


def test_network_and_broadcast_addresses_are_nobodys() -> None:
    pool = ipam.pool_of(IpamConfig(subnet="10.5.0.0/30"))
    assert str(pool.free([])) == "10.5.0.2"
    assert pool.free(["10.5.0.2"]) is None
    six = ipam.pool_of(IpamConfig(subnet="fd00::/64"))
    assert str(six.free([])) == "fd00::2"
    assert six.with_length("fd00::2") == "fd00::2/64"


def test_a_fleet_has_ipv6_addresses_of_its_own() -> None:
    pool = ipam.unique_local_pool("0123456789ab")
    assert str(pool.base) == "fd01:2345:6789::/48"
    assert ipam.mac_of("172.18.0.2", b"") == "02:42:ac:12:00:02"
    assert ipam.mac_of(None, b"\x01\x02\x03\x04\x05") == "02:42:01:02:03:04"
