"""Forgetting connections that the kernel tracks, so that new translations apply to them too.

Source: ``include/uapi/linux/netfilter/nfnetlink_conntrack.h``.
"""

import errno
import struct

from flotilla_runtime_agent.network.netlink import messages as nl
from flotilla_runtime_agent.network.netlink.sockets import (
    NETLINK_NETFILTER,
    NetlinkError,
    NetlinkSocket,
)

_SUBSYSTEM = 1
_GET, _DELETE = _SUBSYSTEM << 8 | 1, _SUBSYSTEM << 8 | 2
_TUPLE_ORIG, _TUPLE_PROTO, _PROTO_NUM, _PROTO_DST_PORT = 1, 2, 1, 3
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT)


def forget(protocol: int, port: int) -> int:
    """Forget the connections to a port of this namespace; answers how many. Blocks briefly.

    A UDP flow that goes on would for ever be translated as it was when it began.
    """
    forgotten = 0
    with NetlinkSocket(NETLINK_NETFILTER) as socket:
        try:
            answers = socket.ask(_GET, _header(0), dump=True)
        except NetlinkError as error:
            if error.errno in _UNSUPPORTED:
                return 0
            raise
        for answer in answers:
            original = nl.attributes(answer, 4).get(_TUPLE_ORIG, b"")
            transport = nl.attributes(nl.attributes(original).get(_TUPLE_PROTO, b""))
            number, target = transport.get(_PROTO_NUM, b""), transport.get(_PROTO_DST_PORT, b"")
            if number != bytes((protocol,)) or target != struct.pack("!H", port):
                continue
            try:
                socket.request(_DELETE, _header(answer[0]) + nl.nested(_TUPLE_ORIG, original))
                forgotten += 1
            except NetlinkError as error:
                if error.errno != errno.ENOENT:
                    raise
    return forgotten


def _header(family: int) -> bytes:
    return struct.pack("!BBH", family, 0, 0)
