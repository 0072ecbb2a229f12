"""DNS messages as bytes (RFC 1035): the one question of a query, and answers to it."""

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HEADER = struct.Struct("!HHHHHH")
_QR, _TC, _RD, _RA = 0x8000, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800
_OPT = 41
_POINTER_TO_QUESTION = b"\xc0\x0c"
_TTL_S = 600
_CLASSIC_UDP_BYTES = 512


class QueryType(IntEnum):
    """The types that are answered from the fleet's own names."""

    A = 1
    PTR = 12
    AAAA = 28


class Rcode(IntEnum):
    """Response codes that we give or look at."""

    NOERROR = 0
    SERVFAIL = 2
    NXDOMAIN = 3
    REFUSED = 5


@dataclass(frozen=True)
class Query:
    """A query: its question, and how large an answer by UDP may be."""

    data: bytes
    name: str  # without the dot at the end
    kind: int
    question_end: int
    udp_bytes: int


def parsed(data: bytes) -> Query:
    """Return the query in a message.

    Raises:
        ValueError: If it is none, or has not exactly one question.
    """
    if len(data) < _HEADER.size:
        raise ValueError("short message")
    _, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & (_QR | _OPCODE) or questions != 1:
        raise ValueError("not a standard query")
    labels = []
    offset = _HEADER.size
    while length := data[offset : offset + 1] or b"\xff":
        size = length[0]
        offset += 1
        if size == 0:
            break
        if size > 63 or offset + size >= len(data):
            raise ValueError("bad name")
        labels.append(data[offset : offset + size].decode("latin-1"))
        offset += size
    if offset + 4 > len(data):
        raise ValueError("no question")
    (kind,) = struct.unpack_from("!H", data, offset)
    end = offset + 4
    has_options = additional and not answers and not authorities
    udp_bytes = _options_size(data, end) if has_options else _CLASSIC_UDP_BYTES
    return Query(data, ".".join(labels), kind, end, udp_bytes)


def address_answer(query: Query, addresses: Sequence[Address]) -> bytes:
    """Return an answer with addresses; none of them is NOERROR without data."""
    records = b"".join(_record(query.kind, address.packed) for address in addresses)
    return _message(query, Rcode.NOERROR, len(addresses), records)


def pointer_answer(query: Query, name: str) -> bytes:
    """Return the answer to a reverse look-up."""
    packed = b"".join(
        bytes((len(label),)) + label.encode("latin-1") for label in name.split(".") if label
    )
    return _message(query, Rcode.NOERROR, 1, _record(QueryType.PTR, packed + b"\0"))


def empty_answer(query: Query, code: Rcode) -> bytes:
    """Return an answer without records."""
    return _message(query, code, 0, b"")


def truncated(query: Query, answer: bytes) -> bytes:
    """Return the answer as UDP can carry it: if too large, only the news that it is."""
    if len(answer) <= query.udp_bytes:
        return answer
    number, flags, *_ = _HEADER.unpack_from(answer)
    header = _HEADER.pack(number, flags | _TC, 1, 0, 0, 0)
    return header + query.data[_HEADER.size : query.question_end]


def rcode_of(answer: bytes) -> int:
    """Return the response code of an answer."""
    return answer[3] & 0x0F


def with_id(message: bytes, number: int) -> bytes:
    """Return the message with another id."""
    return struct.pack("!H", number) + message[2:]


def id_of(message: bytes) -> int:
    """Return the message's id."""
    return int.from_bytes(message[:2], "big")


def reverse_address(name: str) -> Address | None:
    """Return the address in ``2.0.17.172.in-addr.arpa`` or ``….ip6.arpa``."""
    lowered = name.lower()
    try:
        if lowered.endswith(".in-addr.arpa"):
            octets = lowered.removesuffix(".in-addr.arpa").split(".")
            return ipaddress.IPv4Address(".".join(reversed(octets)))
        if lowered.endswith(".ip6.arpa"):
            nibbles = "".join(reversed(lowered.removesuffix(".ip6.arpa").split(".")))
            return ipaddress.IPv6Address(bytes.fromhex(nibbles))
    except ValueError:
        return None
    return None


def _record(kind: int, data: bytes) -> bytes:
    fixed = struct.pack("!HHIH", kind, 1, _TTL_S, len(data))
    return _POINTER_TO_QUESTION + fixed + data


def _message(query: Query, code: Rcode, answers: int, records: bytes) -> bytes:
    number, flags, *_ = _HEADER.unpack_from(query.data)
    header = _HEADER.pack(number, _QR | _RA | (flags & _RD) | code, 1, answers, 0, 0)
    return header + query.data[_HEADER.size : query.question_end] + records


def _options_size(data: bytes, offset: int) -> int:
    """Return the UDP size of an EDNS option record (RFC 6891) that follows the question."""
    if len(data) < offset + 5 or data[offset] != 0:
        return _CLASSIC_UDP_BYTES
    kind, size = struct.unpack_from("!HH", data, offset + 1)
    return max(int(size), _CLASSIC_UDP_BYTES) if kind == _OPT else _CLASSIC_UDP_BYTES
