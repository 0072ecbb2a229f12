"""Twin of ``network/dns/wire.py``."""

import ipaddress
import struct

import pytest

from flotilla_runtime_agent.network.dns import wire

HEADER = struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 0)
QUESTION = b"\3Web\4shop\0" + struct.pack("!HH", 1, 1)


def test_query_has_its_name_and_the_classic_size() -> None:
    query = wire.parsed(HEADER + QUESTION)
    assert (query.name, query.kind, query.udp_bytes) == ("Web.shop", wire.QueryType.A, 512)


def test_edns_raises_the_size_of_an_answer() -> None:
    header = struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 1)
    options = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
    assert wire.parsed(header + QUESTION + options).udp_bytes == 1232


def test_answer_repeats_id_and_question() -> None:
    query = wire.parsed(HEADER + QUESTION)
    answer = wire.address_answer(query, [ipaddress.IPv4Address("172.18.0.2")])
    number, flags, questions, answers = struct.unpack_from("!HHHH", answer)
    assert (number, flags, questions, answers) == (4711, 0x8180, 1, 1)
    assert answer[12 : 12 + len(QUESTION)] == QUESTION
    assert answer.endswith(struct.pack("!HHIH", 1, 1, 600, 4) + bytes((172, 18, 0, 2)))


def test_answer_too_large_for_udp_says_so() -> None:
    query = wire.parsed(HEADER + QUESTION)
    many = [ipaddress.IPv4Address(number) for number in range(100)]
    short = wire.truncated(query, wire.address_answer(query, many))
    assert short[2] & 0x02
    assert len(short) == len(HEADER + QUESTION)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEADER,
        HEADER + b"\3We",
        HEADER + b"\xc0\x0c\0\1\0\1",
        HEADER + b"\0",
        struct.pack("!HHHHHH", 1, 0x8100, 1, 0, 0, 0) + QUESTION,
        struct.pack("!HHHHHH", 1, 0x0100, 2, 0, 0, 0) + QUESTION,
    ],
)
def test_what_is_no_query_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.parsed(data)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2.0.17.172.in-addr.arpa", "172.17.0.2"),
        ("2.0.17.in-addr.arpa", None),
        ("x.in-addr.arpa", None),
        ("2." + "0." * 27 + "0.0.d.f.ip6.arpa", "fd00::2"),
        ("web", None),
    ],
)
def test_reverse_names(name: str, address: str | None) -> None:
    found = wire.reverse_address(name)
    assert (str(found) if found else None) == address
