"""One log driver that ships: where to, in which form. Blocking: used in threads."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from flotilla_core.errors import InternalError, InvalidArgumentError
from flotilla_engine.host_config import LogConfig
from flotilla_runtime_agent.logs.drivers import JOURNAL_SOCKET, SHIPPED
from flotilla_runtime_agent.logs.shipping import fluentd, gelf, journald, syslog
from flotilla_runtime_agent.logs.shipping.addresses import Address, dial_error, opened, parse
from flotilla_runtime_agent.logs.shipping.message import Line, Origin

_FLUENTD = ("tcp", "tcp+tls", "unix")
Encoder = Callable[[Line], Iterator[bytes]]


class Driver:
    """Sends lines; connects when it has to, and anew after a failure."""

    def __init__(
        self,
        address: Address,
        encode: Encoder,
        *,
        tls: Mapping[str, str] | None = None,
        refusal: Callable[[Address, OSError], str] = dial_error,
    ) -> None:
        """Connect to nobody yet; ``refusal`` words that nobody is there."""
        self._address = address
        self._encode = encode
        self._tls = tls or {}
        self._refusal = refusal
        self._connection: socket.socket | None = None

    def connect(self) -> None:
        """Connect before there is anything to send.

        Raises:
            InternalError: Saying in dockerd's words why nobody is there.
        """
        try:
            self._connection = opened(self._address, self._tls)
        except OSError as error:
            raise InternalError(self._refusal(self._address, error)) from error

    def send(self, lines: Sequence[Line]) -> None:
        """Send lines, all or (as far as is known) none.

        Raises:
            OSError: If they could not be sent.
        """
        messages = [message for line in lines for message in self._encode(line)]
        try:
            if self._connection is None:
                self._connection = opened(self._address, self._tls)
            if self._address.is_stream and self._connection.type == socket.SOCK_STREAM:
                self._connection.sendall(b"".join(messages))
            else:
                for message in messages:
                    self._connection.send(message)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def driver_of(config: LogConfig, origin: Origin) -> Driver:
    """Return the driver for a container's lines.

    Raises:
        InvalidArgumentError: If an option's value cannot be.
    """
    match config.type:
        case "syslog":
            return _syslog(config.config, origin)
        case "gelf":
            return _gelf(config.config, origin)
        case "fluentd":
            return _fluentd(config.config, origin)
        case _:
            address = Address("unixgram", path=str(JOURNAL_SOCKET))
            return Driver(
                address,
                journald.Encoder(origin),
                refusal=lambda _address, _error: "journald is not enabled on this host",
            )


def _syslog(options: Mapping[str, str], origin: Origin) -> Driver:
    schemes = ("udp", "tcp", "tcp+tls", "unix", "unixgram")
    text = options.get("syslog-address", "")
    if text:
        secure = text.startswith("tcp+tls")
        address = parse(text, "syslog", schemes, 6514 if secure else 514)
    else:
        address = Address("unix", path="/dev/log")
    chosen = options.get("syslog-format", "")
    if chosen not in syslog.FORMATS:
        raise InvalidArgumentError("Invalid syslog format")
    number = syslog.facility(options.get("syslog-facility", ""))
    counts = address.scheme == "tcp+tls" and chosen.startswith("rfc5424")

    def encode(line: Line) -> Iterator[bytes]:
        message = syslog.encode(line, origin, chosen=chosen, number=number)
        yield syslog.framed(message, counts_octets=counts) if address.is_stream else message

    tls = {
        name: options.get(f"syslog-tls-{option}", "")
        for name, option in (
            *(("ca", "ca-cert"), ("cert", "cert")),
            *(("key", "key"), ("skip-verify", "skip-verify")),
        )
    }
    return Driver(address, encode, tls=tls, refusal=dial_error if text else _no_local_syslog)


def _no_local_syslog(_address: Address, _error: OSError) -> str:
    return "Unix syslog delivery error"


def _gelf(options: Mapping[str, str], origin: Origin) -> Driver:
    text = options.get("gelf-address", "")
    if not text:
        raise InvalidArgumentError("gelf-address is a required parameter")
    address = parse(text, "gelf", ("udp", "tcp"), 12201)
    compression = options.get("gelf-compression-type", "gzip")
    if compression not in ("gzip", "zlib", "none"):
        raise InvalidArgumentError(
            f'unknown value "{compression}" for log opt "gelf-compression-type" for gelf log driver'
        )
    level = options.get("gelf-compression-level", "1")
    if level.lstrip("-") not in [str(number) for number in range(10)]:
        raise InvalidArgumentError(
            f'unknown value "{level}" for log opt "gelf-compression-level" for gelf log driver'
        )

    def encode(line: Line) -> Iterator[bytes]:
        message = gelf.encode(line, origin)
        if address.scheme == "tcp":
            yield message + b"\0"
        else:
            yield from gelf.datagrams(message, compression=compression, level=int(level))

    return Driver(address, encode, refusal=_no_gelf)


def _no_gelf(address: Address, error: OSError) -> str:
    reason = dial_error(address, error)
    return f"gelf: cannot connect to GELF endpoint: {address.place} {reason}"


def _fluentd(options: Mapping[str, str], origin: Origin) -> Driver:
    text = options.get("fluentd-address", "") or "tcp://127.0.0.1:24224"
    if "://" not in text:
        text = f"tcp://{text}"
    address = parse(text.replace("tls://", "tcp+tls://"), "fluentd", _FLUENTD, 24224)
    fractions = options.get("fluentd-sub-second-precision", "").lower() in ("true", "1")

    def encode(line: Line) -> Iterator[bytes]:
        yield fluentd.encode(line, origin, has_fractions=fractions)

    return Driver(address, encode)


def connects_first(config: LogConfig) -> bool:
    """Tell whether a container is started only if the receiver is there."""
    is_async = any(
        config.config.get(name, "").lower() in ("true", "1", "t")
        for name in ("fluentd-async", "fluentd-async-connect")
    )
    return config.type in SHIPPED and not is_async


def check_shipping(config: LogConfig) -> None:
    """Refuse options with values that cannot be, at create.

    Raises:
        InvalidArgumentError: If one is wrong.
    """
    if config.type in SHIPPED:
        driver_of(config, Origin("", "", "", "", "", "", "", {}))
    scheme, _, path = config.config.get("syslog-address", "").partition("://")
    if scheme in ("unix", "unixgram") and not Path(path).exists():
        raise InvalidArgumentError(f"stat {path}: no such file or directory")
