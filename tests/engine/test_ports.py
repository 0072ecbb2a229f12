"""Tests of ``flotilla_engine.ports``, ``volume_specs``, ``signals`` and ``capabilities``."""

import pytest

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.capabilities import ALL, DEFAULT, effective
from flotilla_engine.host_config import PortBinding
from flotilla_engine.ports import exposed_ports, host_port_range, normalised_bindings
from flotilla_engine.signals import parse_signal
from flotilla_engine.volume_specs import BindSpec, parse_bind, parse_volumes_from


def test_exposed_ports_may_be_ranges() -> None:
    assert exposed_ports("80") == ["80/tcp"]
    assert exposed_ports("80-82/UDP") == ["80/udp", "81/udp", "82/udp"]
    for wrong in ("x", "80/foo", "90-80", "", "/tcp", "70000"):
        with pytest.raises(InvalidArgumentError):
            exposed_ports(wrong)


def test_bindings_get_their_protocol_and_a_random_port() -> None:
    bindings = normalised_bindings({"80": None, "53/udp": [PortBinding(host_port="5353-5360")]})
    assert bindings == {
        "80/tcp": [PortBinding()],
        "53/udp": [PortBinding(host_port="5353-5360")],
    }
    assert host_port_range("5353-5360") == (5353, 5360)
    assert host_port_range("") == (0, 0)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("/x", BindSpec("", "/x")),
        ("data:/x:cached", BindSpec("data", "/x", "cached")),
        ("data:/x", BindSpec("data", "/x")),
        ("/a/../b:/x/./y/:ro,z", BindSpec("/b", "/x/y", "ro,z")),
        ("/a:/x:rshared", BindSpec("/a", "/x", "rshared")),
        ("data:/x:nocopy", BindSpec("data", "/x", "nocopy")),
    ],
)
def test_binds_are_read(text: str, spec: BindSpec) -> None:
    assert parse_bind(text) == spec


def test_bind_tells_what_its_options_mean() -> None:
    spec = parse_bind("/a:/x:ro,rslave")
    assert (spec.is_volume, spec.read_only, spec.propagation) == (False, True, "rslave")
    assert parse_bind("a1:/x:nocopy").no_copy
    assert parse_volumes_from("other:ro") == ("other", "ro")


def test_signals_are_read_in_all_their_forms() -> None:
    forms = ("SIGTERM", "term", "15", "RTMIN+3", "SIGRTMAX-1")
    assert [parse_signal(form) for form in forms] == [15, 15, 15, 37, 63]
    with pytest.raises(InvalidArgumentError, match="invalid signal: FOO"):
        parse_signal("FOO")


def test_capabilities_are_added_and_dropped() -> None:
    assert effective([], [], privileged=False) == list(DEFAULT)
    assert effective([], [], privileged=True) == list(ALL)
    assert effective([], ["all"], privileged=False) == []
    assert effective(["net_admin"], ["ALL"], privileged=False) == ["CAP_NET_ADMIN"]
    assert "CAP_CHOWN" not in effective(["ALL"], ["CHOWN"], privileged=False)
