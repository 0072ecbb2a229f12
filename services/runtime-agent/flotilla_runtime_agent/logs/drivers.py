"""Which log drivers there are, their options, and dockerd's refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote_plus

from flotilla_core.errors import InternalError, InvalidArgumentError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import LogConfig
from flotilla_runtime_agent.logs.files import Rotation

DEFAULT_DRIVER = "json-file"
JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
_EXTRA = {"labels", "labels-regex", "env", "env-regex", "tag"}
_EVERYWHERE = {
    "mode",
    "max-buffer-size",
    "cache-disabled",
    "cache-max-size",
    "cache-max-file",
    "cache-compress",
}
_SIZE = re.compile(r"^(\d+(?:\.\d+)?) ?([kKmMgGtTpP]?)(?:i?[bB])?$")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_OPTIONS: dict[str, set[str]] = {
    "json-file": {*_EXTRA, "max-size", "max-file", "compress"},
    "local": {"max-size", "max-file", "compress"},
    "none": set(),
    "syslog": {
        *_EXTRA,
        *("syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert"),
        *("syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"),
    },
    "journald": _EXTRA,
    "gelf": {
        *_EXTRA,
        *("gelf-address", "gelf-compression-type", "gelf-compression-level"),
        *("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"),
    },
    "fluentd": {
        *_EXTRA,
        *("fluentd-address", "fluentd-async", "fluentd-async-connect"),
        *("fluentd-async-reconnect-interval", "fluentd-buffer-limit", "fluentd-max-retries"),
        *("fluentd-request-ack", "fluentd-retry-wait", "fluentd-sub-second-precision"),
    },
}
SHIPPED = ("syslog", "journald", "gelf", "fluentd")
"""Drivers whose messages the agent sends on from the log's file."""


def available() -> list[str]:
    """Return the drivers that this host has."""
    return [name for name in _OPTIONS if name != "journald" or JOURNAL_SOCKET.exists()]


def check(config: LogConfig) -> None:
    """Refuse a driver or an option that dockerd would refuse.

    Raises:
        FlotillaError: With dockerd's text.
    """
    driver = config.type or DEFAULT_DRIVER
    known = _OPTIONS.get(driver)
    if known is None:
        raise InvalidArgumentError(
            f'error looking up logging plugin {driver}: plugin "{driver}" not found'
        )
    if driver == "none":
        return
    for option in config.config:
        if option not in known and option not in _EVERYWHERE:
            raise InvalidArgumentError(f"unknown log opt '{option}' for {driver} log driver")
    if driver == "journald" and not JOURNAL_SOCKET.exists():
        raise InternalError(
            "failed to initialize logging driver: journald is not enabled on this host"
        )
    rotation_of(config)


def rotation_of(config: LogConfig) -> Rotation:
    """Return when the log is rotated.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    driver, options = config.type or DEFAULT_DRIVER, config.config
    if driver in SHIPPED:
        return _cache_rotation(options)
    if driver == "local":
        size, files, compress = options.get("max-size", "20m"), "5", "true"
    else:
        size, files, compress = options.get("max-size", "-1"), "1", "false"
    max_bytes = 0 if size == "-1" else _size(size)
    max_files = _count(options.get("max-file", files))
    is_compressed = options.get("compress", compress).lower() in ("true", "1", "t")
    if driver == "json-file" and not max_bytes and "max-file" in options:
        raise InvalidArgumentError("max-file cannot be specified when max-size is not set")
    return Rotation(max_bytes, max_files, is_compressed and max_files > 1)


def _cache_rotation(options: Mapping[str, str]) -> Rotation:
    """Return the rotation of what is kept for ``docker logs`` beside a shipping driver."""
    size = _size(options.get("cache-max-size", "20m"))
    return Rotation(size, _count(options.get("cache-max-file", "5")), compress=False)


def _size(text: str) -> int:
    match = _SIZE.match(text)
    if match is None:
        raise InvalidArgumentError(f"invalid size: '{text}'")
    size = int(float(match[1]) * _UNITS[match[2].lower()])
    if size <= 0:
        raise InvalidArgumentError("max-size must be a positive number")
    return size


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise InvalidArgumentError(f'strconv.Atoi: parsing "{text}": invalid syntax') from error
    if number < 1:
        raise InvalidArgumentError("max-file cannot be less than 1")
    return number


def extra_attributes(config: LogConfig, container: ContainerConfig) -> dict[str, str]:
    """Return the labels and variables that the options ask to add to each message."""
    options = config.config
    env = dict(entry.partition("=")[::2] for entry in container.env if "=" in entry)
    extra = _chosen(container.labels, options.get("labels", ""), options.get("labels-regex", ""))
    extra.update(_chosen(env, options.get("env", ""), options.get("env-regex", "")))
    return extra


def _chosen(values: Mapping[str, str], names: str, pattern: str) -> dict[str, str]:
    chosen = {name: values[name] for name in names.split(",") if name in values}
    if pattern:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise InvalidArgumentError(f"error parsing regexp: {error}") from error
        chosen.update({name: text for name, text in values.items() if expression.search(name)})
    return chosen


def details(attributes: Mapping[str, str]) -> bytes:
    """Return what ``docker logs --details`` puts before each line."""
    pairs = [f"{quote_plus(name)}={quote_plus(attributes[name])}" for name in sorted(attributes)]
    return (",".join(pairs) + " ").encode()


def tag_of(
    template: str,
    *,
    container_id: str,
    name: str,
    image: str,
    image_id: str,
    command: Sequence[str],
) -> str:
    """Fill in the ``tag`` option's template; an empty one is the short id."""
    values = {
        "ID": container_id[:12],
        "FullID": container_id,
        "Name": name,
        "ImageName": image,
        "ImageID": image_id.removeprefix("sha256:")[:12],
        "ImageFullID": image_id,
        "DaemonName": "docker",
        "Command": " ".join(command),
    }
    text = template or "{{.ID}}"
    return re.sub(r"\{\{ *\.(\w+) *\}\}", lambda match: values.get(match[1], match[0]), text)
