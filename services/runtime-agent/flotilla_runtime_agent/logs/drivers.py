"""Which log drivers there are, their options, and dockerd's refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote_plus

from flotilla_core.errors import InvalidArgumentError
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
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_TAG_FIELD = re.compile(r"\{\{ *\.(\w+) *\}\}")
_TAG_FIELDS = frozenset(
    {
        *("ID", "FullID", "Name", "ImageName", "ImageID", "ImageFullID", "DaemonName", "Command"),
        *("ContainerID", "ContainerName", "ContainerImageID", "ContainerImageName"),
    }
)
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


def check_values(config: LogConfig, container: ContainerConfig) -> None:
    """Refuse values that dockerd looks at only when a container starts.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    rotation_of(config)
    extra_attributes(config, container)
    check_tag(config.config.get("tag", ""))


def rotation_of(config: LogConfig) -> Rotation:
    """Return when the log is rotated.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    driver, options = config.type or DEFAULT_DRIVER, config.config
    if driver in SHIPPED:
        size = _positive(_size(options.get("cache-max-size", "20m")))
        return Rotation(size, _count(options.get("cache-max-file", "5")), compress=False)
    return _local_rotation(options) if driver == "local" else _json_rotation(options)


def _json_rotation(options: Mapping[str, str]) -> Rotation:
    max_bytes = _positive(_size(options["max-size"])) if "max-size" in options else 0
    max_files = _count(options.get("max-file", "1"))
    compress = _is_true(options.get("compress", "false"))
    if compress and (max_files < 2 or not max_bytes):
        raise InvalidArgumentError(
            "compress cannot be true when max-file is less than 2 or max-size is not set"
        )
    return Rotation(max_bytes, max_files, compress)


def _local_rotation(options: Mapping[str, str]) -> Rotation:
    text = options.get("max-size", "20m")
    try:
        max_bytes = _size(text)
    except InvalidArgumentError as error:
        wrong = f"invalid value for max-size: {text}: {error.message}"
        raise InvalidArgumentError(wrong) from error
    max_files = max(_number(options.get("max-file", "5")), 1)
    compress = _is_true(options.get("compress", "true"))
    if compress and max_files < 2:
        raise InvalidArgumentError(
            f"compression cannot be enabled when max file count is {max_files}"
        )
    return Rotation(max_bytes, max_files, compress)


def _size(text: str) -> int:
    match = _SIZE.match(text)
    if match is None:
        raise InvalidArgumentError(f"invalid size: '{text}'")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _positive(size: int) -> int:
    if size <= 0:
        raise InvalidArgumentError("max-size must be a positive number")
    return size


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InvalidArgumentError(f'strconv.Atoi: parsing "{text}": invalid syntax') from error


def _count(text: str) -> int:
    number = _number(text)
    if number < 1:
        raise InvalidArgumentError("max-file cannot be less than 1")
    return number


def _is_true(text: str) -> bool:
    """Read a flag as Go's ``strconv.ParseBool`` does."""
    if text not in _BOOLEANS:
        raise InvalidArgumentError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return _BOOLEANS[text]


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
            wrong = str(error.msg)
            if wrong.startswith("missing )"):
                wrong = f"missing closing ): `{pattern}`"
            raise InvalidArgumentError(f"error parsing regexp: {wrong}") from error
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
        "ContainerID": container_id,
        "ContainerName": f"/{name}",
        "ContainerImageID": image_id,
        "ContainerImageName": image,
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
    return _TAG_FIELD.sub(lambda match: values.get(match[1], match[0]), text)


def check_tag(template: str) -> None:
    """Refuse what is no template, in the words of Go's own ones.

    Raises:
        InvalidArgumentError: If it cannot be filled in.
    """
    if template.rfind("{{") > template.rfind("}}"):
        raise InvalidArgumentError("template: log-tag:1: unclosed action")
    for match in _TAG_FIELD.finditer(template):
        if match[1] not in _TAG_FIELDS:
            raise InvalidArgumentError(
                f'template: log-tag:1:{match.start(1) - 1}: executing "log-tag" at <.{match[1]}>: '
                f"can't evaluate field {match[1]} in type *logger.Info"
            )
