"""Dockerfile instructions that only change an image's configuration.

`docker commit --change` and `docker import --change` take them, and builds use them.
"""

import json
import posixpath
import re
from collections.abc import Callable, Iterable
from typing import Any

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.config import ContainerConfig, HealthConfig
from flotilla_engine.durations import parse_duration

_SHELL = ["/bin/sh", "-c"]
_MAX_PORT = 65535
_RETRY_DIGITS = 9
_CHANGE_COMMANDS = frozenset(
    {
        "cmd", "entrypoint", "env", "expose", "healthcheck", "label", "onbuild", "stopsignal",
        "user", "volume", "workdir",
    }
)  # fmt: skip
_PORT = re.compile(r"\d{1,5}(?:-\d{1,5})?(?:/(?:tcp|udp|sctp))?")
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)")


def apply_changes(config: ContainerConfig, changes: Iterable[str]) -> ContainerConfig:
    """Return the configuration with `--change` instructions applied.

    Raises:
        InvalidArgumentError: If one is none, or is not allowed here.
    """
    for line in changes:
        for part in line.splitlines():
            if not part.strip() or part.lstrip().startswith("#"):
                continue
            name, _, rest = part.strip().partition(" ")
            if name.lower() not in _CHANGE_COMMANDS:
                raise InvalidArgumentError(f"{name} is not a valid change command")
            config = apply_instruction(config, name.lower(), rest.strip())
    return config


def apply_instruction(config: ContainerConfig, name: str, rest: str) -> ContainerConfig:
    """Return the configuration after one instruction, whose variables are expanded already.

    Raises:
        InvalidArgumentError: If its arguments are wrong, or it changes no configuration.
    """
    config = config.model_copy(deep=True)
    work = _INSTRUCTIONS.get(name)
    if work is None:
        raise InvalidArgumentError(f"unknown instruction: {name.upper()}")
    if not rest:
        raise InvalidArgumentError(f"{name.upper()} requires at least one argument")
    work(config, rest)
    return config


def words(text: str, instruction: str) -> list[str]:
    """Split into words as the classic builder does: quotes join, backslashes escape."""
    found: list[str] = []
    word, quote, started = "", "", False
    letters = iter(text)
    for letter in letters:
        if letter == "\\" and quote != "'":
            following = next(letters, "")
            word += following if not quote or following in '"\\$' else letter + following
            started = True
        elif quote:
            quote, word = ("", word) if letter == quote else (quote, word + letter)
        elif letter in "\"'":
            quote, started = letter, True
        elif letter.isspace():
            if started:
                found.append(word)
            word, started = "", False
        else:
            word, started = word + letter, True
    if quote:
        raise InvalidArgumentError(
            f"{instruction}: unexpected end of statement while looking for matching {quote}"
        )
    return [*found, word] if started else found


def exec_form(text: str) -> list[str] | None:
    """Return a JSON list of strings, or None if the text is something else."""
    if not text.startswith("["):
        return None
    try:
        value: Any = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return None


def command(config: ContainerConfig, text: str) -> list[str]:
    """Return a command in exec form; a plain one goes to the image's shell."""
    listed = exec_form(text)
    return [*(config.shell or _SHELL), text] if listed is None else listed


def pairs(text: str, instruction: str) -> list[tuple[str, str]]:
    """Read `key=value …`, or the old form `key value`.

    Raises:
        InvalidArgumentError: If it is neither.
    """
    first, _, rest = text.partition(" ")
    if "=" not in first:
        if not rest.strip():
            raise InvalidArgumentError(f"{instruction} must have two arguments")
        return [(first, rest.strip())]
    found = []
    for word in words(text, instruction):
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgumentError(
                f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            )
        if not key:
            raise InvalidArgumentError(f"{instruction} names can not be blank")
        found.append((key, value))
    return found


def set_env(env: list[str], key: str, value: str) -> list[str]:
    """Return the variables with one more or one changed, in their order."""
    entry = f"{key}={value}"
    if any(old.partition("=")[0] == key for old in env):
        return [entry if old.partition("=")[0] == key else old for old in env]
    return [*env, entry]


def _cmd(config: ContainerConfig, rest: str) -> None:
    config.cmd = command(config, rest)


def _entrypoint(config: ContainerConfig, rest: str) -> None:
    config.entrypoint = command(config, rest)


def _env(config: ContainerConfig, rest: str) -> None:
    for key, value in pairs(rest, "ENV"):
        config.env = set_env(config.env, key, value)


def _label(config: ContainerConfig, rest: str) -> None:
    config.labels = {**config.labels, **dict(pairs(rest, "LABEL"))}


def _expose(config: ContainerConfig, rest: str) -> None:
    for word in words(rest, "EXPOSE"):
        if not _PORT.fullmatch(word):
            raise InvalidArgumentError(f"invalid containerPort: {word}")
        port, _, protocol = word.partition("/")
        first, _, last = port.partition("-")
        if not int(first) <= int(last or first) <= _MAX_PORT:
            raise InvalidArgumentError(f"invalid range format: {port}")
        for number in range(int(first), int(last or first) + 1):
            config.exposed_ports[f"{number}/{protocol or 'tcp'}"] = {}


def _volume(config: ContainerConfig, rest: str) -> None:
    for path in exec_form(rest) or words(rest, "VOLUME"):
        if not path.strip():
            raise InvalidArgumentError("VOLUME specified can not be an empty string")
        config.volumes[path.strip()] = {}


def _user(config: ContainerConfig, rest: str) -> None:
    config.user = rest


def _workdir(config: ContainerConfig, rest: str) -> None:
    config.working_dir = posixpath.normpath(posixpath.join("/", config.working_dir, rest))


def _stop_signal(config: ContainerConfig, rest: str) -> None:
    config.stop_signal = rest


def _shell(config: ContainerConfig, rest: str) -> None:
    listed = exec_form(rest)
    if listed is None:
        raise InvalidArgumentError("SHELL requires the arguments to be in JSON form")
    config.shell = listed


def _on_build(config: ContainerConfig, rest: str) -> None:
    trigger = rest.partition(" ")[0].upper()
    if trigger == "ONBUILD":
        raise InvalidArgumentError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise InvalidArgumentError(f"{trigger} isn't allowed as an ONBUILD trigger")
    config.on_build = [*config.on_build, rest]


def _health_check(config: ContainerConfig, rest: str) -> None:
    flags: dict[str, str] = {}
    while flag := _FLAG.match(rest):
        flags[flag[1]] = flag[2] or ""
        rest = rest[flag.end() :]
    kind, _, argument = rest.partition(" ")
    match kind.upper():
        case "NONE":
            config.healthcheck = HealthConfig(test=["NONE"])
            return
        case "CMD":
            listed = exec_form(argument.strip())
            test = ["CMD-SHELL", argument.strip()] if listed is None else ["CMD", *listed]
        case _:
            raise InvalidArgumentError(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    retries = flags.pop("retries", "") or "0"
    if not retries.isdecimal() or len(retries) > _RETRY_DIGITS:
        raise InvalidArgumentError(f'strconv.ParseInt: parsing "{retries}": invalid syntax')
    config.healthcheck = HealthConfig(
        test=test,
        interval=_duration(flags.pop("interval", "")),
        timeout=_duration(flags.pop("timeout", "")),
        start_period=_duration(flags.pop("start-period", "")),
        start_interval=_duration(flags.pop("start-interval", "")),
        retries=int(retries),
    )
    for unknown in flags:
        raise InvalidArgumentError(f"unknown flag: --{unknown}")


def _duration(text: str) -> int:
    try:
        return parse_duration(text) if text else 0
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error


_INSTRUCTIONS: dict[str, Callable[[ContainerConfig, str], None]] = {
    "cmd": _cmd,
    "entrypoint": _entrypoint,
    "env": _env,
    "label": _label,
    "expose": _expose,
    "volume": _volume,
    "user": _user,
    "workdir": _workdir,
    "stopsignal": _stop_signal,
    "shell": _shell,
    "onbuild": _on_build,
    "healthcheck": _health_check,
}
