"""Checks of logging drivers and their options (moby ``daemon/logger``)."""

import re
from urllib.parse import urlsplit

from flotilla_core.errors import InvalidArgumentError
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
_UNKNOWN = {"local": "unknown log opt '{}' for log driver local"}
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
    if _scheme(address) not in ("tcp", "udp"):
        raise InvalidArgumentError("gelf: endpoint needs to be TCP or UDP")


def _check_syslog(config: dict[str, str]) -> None:
    address = config.get("syslog-address", "")
    if address and _scheme(address) not in ("unix", "unixgram", "udp", "tcp", "tcp+tls"):
        raise InvalidArgumentError(f"unsupported scheme: '{_scheme(address)}'")
