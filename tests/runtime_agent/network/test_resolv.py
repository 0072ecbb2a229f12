"""Twin of ``network/resolv.py``."""

from flotilla_runtime_agent.network.resolv import ResolvConf, for_container, forwarders, parsed

HOST = parsed(
    """\
# made by the host
nameserver 127.0.0.53
nameserver 10.0.0.2
search one.test
search two.test three.test
options edns0 timeout:2
"""
)


def test_last_search_wins() -> None:
    assert (
        ResolvConf(("127.0.0.53", "10.0.0.2"), ("two.test", "three.test"), ("edns0", "timeout:2"))
        == HOST
    )


def test_default_bridge_gets_what_it_can_reach() -> None:
    made = for_container(HOST, dns=[], search=[], options=[], embedded=False)
    assert made == ResolvConf(("10.0.0.2",), HOST.search, HOST.options)
    only_loopback = ResolvConf(("127.0.0.53",))
    made = for_container(only_loopback, dns=[], search=["."], options=[], embedded=False)
    assert made == ResolvConf(("8.8.8.8", "8.8.4.4"), (), ())


def test_user_network_gets_the_embedded_server() -> None:
    made = for_container(
        HOST, dns=["9.9.9.9"], search=["own.test"], options=["ndots:2"], embedded=True
    )
    assert made == ResolvConf(("127.0.0.11",), ("own.test",), ("ndots:2",))
    made = for_container(HOST, dns=[], search=[], options=[], embedded=True)
    assert made.options == ("edns0", "timeout:2", "ndots:0")
    assert forwarders(HOST, []) == HOST.nameservers
    assert forwarders(HOST, ["9.9.9.9"]) == ("9.9.9.9",)
