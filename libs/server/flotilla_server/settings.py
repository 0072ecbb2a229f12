"""A service's settings: from flags, the environment, a file and defaults, in that order.

A settings class is a frozen pydantic model; each field has a description. The variable of a field
is `FLOTILLA_<SERVICE>_<NAME>`, its flag `--<name>` with dashes, its key in the file `<name>`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo


class Settings(BaseModel):
    """The base of each service's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line and names where it was set."""


S = TypeVar("S", bound=Settings)


def load(
    settings: type[S],
    service: str,
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> S:
    """Read the settings of a service.

    Args:
        settings: The class of the settings.
        service: The service's name, as in `image-store`.
        argv: The flags; by default those of this process.
        environ: The environment; by default that of this process.

    Raises:
        SettingsError: If a setting is missing, unknown or has a wrong value.
    """
    environ = os.environ if environ is None else environ
    flags = vars(_parser(settings, service).parse_args(argv))
    config_file = flags.pop("config", None) or environ.get(_variable(service, "config"))
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if config_file:
        for name, value in _from_file(Path(config_file)).items():
            values[name], origins[name] = value, f"{config_file}: {name}"
    for name, field in settings.model_fields.items():
        variable = _variable(service, name)
        if variable in environ:
            values[name], origins[name] = _decoded(field, environ[variable]), variable
        if flags.get(name) is not None:
            values[name], origins[name] = _decoded(field, flags[name]), _flag(name)
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_one_line(error, origins, service)) from None


def load_or_exit(settings: type[S], service: str) -> S:
    """Read the settings, or end the process with one line that says which setting is wrong."""
    try:
        return load(settings, service)
    except SettingsError as error:
        sys.stderr.write(f"flotilla-{service}: {error}\n")
        raise SystemExit(2) from None


def _variable(service: str, name: str) -> str:
    return f"FLOTILLA_{service}_{name}".upper().replace("-", "_")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parser(settings: type[Settings], service: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"flotilla-{service}", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", help="TOML or JSON file with settings")
    for name, field in settings.model_fields.items():
        default = "" if field.is_required() else f" (default: {field.get_default()!r})"
        text = f"{field.description or name}{default} [{_variable(service, name)}]"
        parser.add_argument(
            _flag(name), dest=name, metavar=name.upper(), help=text.replace("%", "%%")
        )
    return parser


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        read: object = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None
    if not isinstance(read, dict):
        raise SettingsError(f"{path}: a table of settings is expected")
    return read


def _decoded(field: FieldInfo, text: str) -> object:
    """Turn a string into what pydantic can validate: lists by comma, tables by key=value."""
    origin = get_origin(field.annotation) or field.annotation
    if origin in (list, tuple, set, frozenset):
        if text.startswith("["):
            return _json(text)
        return [part.strip() for part in text.split(",") if part.strip()]
    if origin is dict:
        if text.startswith("{"):
            return _json(text)
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {key.strip(): value for key, _, value in pairs}
    return text


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _one_line(error: ValidationError, origins: Mapping[str, str], service: str) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"{_variable(service, name)} is not set"
    if first["type"] == "extra_forbidden":
        return f"{origins.get(name, name)}: no such setting"
    return f"{origins.get(name, name)}: {first['msg']}"
