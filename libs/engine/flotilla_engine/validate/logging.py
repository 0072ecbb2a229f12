"""Checks of logging drivers and their options (moby ``daemon/logger``)."""

import re
from urllib.parse import urlsplit

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.durations import parse_duration
from flotilla_engine.host_config import LogConfig

_COMMON = frozenset({"mode", "max-buffer-size"})
_TAGGED = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_OPTIONS = {
    "json-file": _TAGGED | {"max-size", "max-file", "compress"},
    "local": frozenset({"max-size", "max-file", "compress"}),
    "journald": _TAGGED,
    "syslog": _TAGGED
    | {
        "syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert",
        "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify",
    },
    "gelf": _TAGGED
    | {
        "gelf-address", "gelf-compression-level", "gelf-compression-type",
        "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay",
    },
    "fluentd": _TAGGED
    | {
        "fluentd-address", "fluentd-async", "fluentd-async-connect",
        "fluentd-async-reconnect-interval", "fluentd-buffer-limit", "fluentd-max-retries",
        "fluentd-request-ack", "fluentd-retry-wait", "fluentd-sub-second-precision",
    },
}  # fmt: skip
DRIVERS = (*_OPTIONS, "none")
_CACHE = "cache-"  # options of the cache beside drivers that cannot be read
_UNKNOWN = {
    "local": "unknown log opt '{}' for log driver local",
    "gelf": 'unknown log opt "{}" for gelf log driver',
}
_UNSIGNED = re.compile(r"\+?[0-9]+")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:/\[\]]+):[0-9]+")
_BAD_PORT = re.compile(r":[^:\]]*[^:\]0-9][^:\]]*$")
_BOOLEANS = ("1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False")
_SIZE = re.compile(r"\d+(?:\.\d+)?\s?(?:[kmgtp]i?b?|b)?", re.IGNORECASE | re.ASCII)


def check_log_config(log: LogConfig) -> None:
    """Check the driver's name, its options and the addresses among them.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if log.type in ("", "none"):
        return
    options = _OPTIONS.get(log.type)
    if options is None:
        raise InvalidArgumentError(
            f'error looking up logging plugin {log.type}: plugin "{log.type}" not found'
        )
    _check_mode(log)
    for name in log.config:
        if name not in options and name not in _COMMON and not name.startswith(_CACHE):
            text = _UNKNOWN.get(log.type, "unknown log opt '{}' for " + log.type + " log driver")
            raise InvalidArgumentError(text.format(name))
    match log.type:
        case "gelf":
            _check_gelf(log.config)
        case "fluentd":
            _check_fluentd(log.config)
        case "syslog":
            _check_syslog(log.config)
        case _:
            pass


def _check_mode(log: LogConfig) -> None:
    mode = log.config.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidArgumentError(f"logger: logging mode not supported: {mode}")
    size = log.config.get("max-buffer-size")
    if size is None:
        return
    if mode != "non-blocking":
        raise InvalidArgumentError(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
        )
    if not _SIZE.fullmatch(size):
        raise InvalidArgumentError(f"error parsing option max-buffer-size: invalid size: '{size}'")


def _scheme(address: str) -> str:
    try:
        return urlsplit(address).scheme
    except ValueError:
        return ""


def _check_gelf(config: dict[str, str]) -> None:
    address = config.get("gelf-address", "")
    if not address:
        raise InvalidArgumentError("gelf-address is a required parameter")
    scheme = _scheme(address)
    if scheme not in ("tcp", "udp"):
        raise InvalidArgumentError("gelf: endpoint needs to be TCP or UDP")
    if not _HOST_AND_PORT.fullmatch(address.partition("://")[2]):
        raise InvalidArgumentError("gelf: please provide gelf-address as proto://host:port")
    kinds, levels = ("gzip", "zlib", "none"), [str(number) for number in range(-1, 10)]
    for name, known in (("compression-type", kinds), ("compression-level", levels)):
        option = f"gelf-{name}"
        value = config.get(option)
        if value is None:
            continue
        if scheme == "tcp":
            raise InvalidArgumentError("compression is only supported on UDP")
        if value not in known:
            raise InvalidArgumentError(
                f'unknown value "{value}" for log opt "{option}" for gelf log driver'
            )
    for option in ("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"):
        value = config.get(option)
        if value is not None and scheme != "tcp":
            raise InvalidArgumentError(f'"{option}" is only valid for TCP')
        if value is not None and not _UNSIGNED.fullmatch(value):
            raise InvalidArgumentError(f'"{option}" must be a positive integer')


def _check_syslog(config: dict[str, str]) -> None:
    address = config.get("syslog-address", "")
    if address and _scheme(address) not in ("unix", "unixgram", "udp", "tcp", "tcp+tls"):
        raise InvalidArgumentError(f"unsupported scheme: '{_scheme(address)}'")


def _check_fluentd(config: dict[str, str]) -> None:
    for option, value in config.items():
        name = option.removeprefix("fluentd-")
        if name in ("async", "async-connect", "request-ack", "sub-second-precision"):
            if value not in _BOOLEANS:
                raise InvalidArgumentError(f'strconv.ParseBool: parsing "{value}": invalid syntax')
        elif name == "buffer-limit":
            if not _SIZE.fullmatch(value):
                raise InvalidArgumentError(f"invalid size: '{value}'")
        elif name == "max-retries":
            if not _UNSIGNED.fullmatch(value):
                raise InvalidArgumentError(f'strconv.ParseUint: parsing "{value}": invalid syntax')
        elif name in ("retry-wait", "async-reconnect-interval"):
            prefix = "" if name == "retry-wait" else f"invalid value for {option}: "
            _check_duration(value, prefix)
    _check_fluentd_address(config.get("fluentd-address", ""))


def _check_duration(text: str, prefix: str) -> None:
    try:
        parse_duration(text)
    except ValueError as error:
        raise InvalidArgumentError(f"{prefix}{error}") from None


def _check_fluentd_address(address: str) -> None:
    if not address:
        return
    full = address if "://" in address else f"tcp://{address}"
    scheme, _, rest = full.partition("://")
    host, slash, path = rest.partition("/")
    wrong = ""
    if scheme == "unix":
        wrong = "" if path else "path is empty"
    elif scheme not in ("tcp", "tls"):
        wrong = f"unsupported scheme: '{scheme}'"
    elif match := _BAD_PORT.search(host):
        wrong = f'parse "{full}": invalid port "{match[0]}" after host'
    elif slash and path:
        wrong = "should not contain a path element"
    if wrong:
        raise InvalidArgumentError(f"invalid fluentd-address ({address}): {wrong}")
