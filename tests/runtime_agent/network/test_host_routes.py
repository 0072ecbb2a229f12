"""Twin of ``network/host_routes.py``."""

from flotilla_runtime_agent.network.host_routes import parsed

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
flt0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
fl-0123456789ab\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def test_routes_but_the_default_one_and_those_of_user_networks() -> None:
    assert parsed(ROUTES) == ["172.17.0.0/16", "192.0.2.0/24"]
