"""Request bodies: reading them, and saying what is wrong with them as Go's decoder does."""

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.model import EngineModel
from flotilla_engine.networking import NetworkingConfig

M = TypeVar("M", bound=EngineModel)


class ContainerCreateBody(ContainerConfig):
    """Body of ``ContainerCreate``: the configuration, and two parts beside it."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


_GO_TYPES = (
    ("bool", "bool"), ("string", "string"), ("int", "int64"), ("less_than", "int64"),
    ("greater_than", "int64"), ("list", "[]string"), ("dict", "map[string]string"),
    ("model", "struct"),
)  # fmt: skip


def decode(model: type[M], body: bytes, content_type: str | None = "application/json") -> M:
    """Read a body.

    Raises:
        InvalidArgumentError: With dockerd's text; of a wrong field, its name is in it.
    """
    _check_content_type(content_type)
    if not body.strip():
        raise InvalidArgumentError("invalid JSON: got EOF while reading request body")
    try:
        document = json.loads(body)
    except UnicodeDecodeError:
        raise InvalidArgumentError("invalid JSON: invalid UTF-8") from None
    except RecursionError:
        raise InvalidArgumentError("invalid JSON: exceeded max depth") from None
    except ValueError as error:
        if "Extra data" in str(error):
            raise InvalidArgumentError("unexpected content after JSON") from None
        raise InvalidArgumentError(f"invalid JSON: {error}") from None
    return validated(model, {} if document is None else document)


def validated(model: type[M], document: Any) -> M:
    """Make a model of a decoded document.

    Raises:
        InvalidArgumentError: Naming the field.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidArgumentError(_text(model, error)) from None


def decode_create(body: bytes, content_type: str | None) -> ContainerCreateBody:
    """Read the body of ``ContainerCreate``.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    create = decode(ContainerCreateBody, body, content_type)
    if not create.model_fields_set - {"host_config", "networking_config"}:
        raise InvalidArgumentError("config cannot be empty in order to create a container")
    return create


def _check_content_type(content_type: str | None) -> None:
    if content_type is None:
        return
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type:
        raise InvalidArgumentError("malformed Content-Type header (): mime: no media type")
    if media_type != "application/json":
        raise InvalidArgumentError(
            f"unsupported Content-Type header ({media_type}): must be 'application/json'"
        )


def _text(model: type[EngineModel], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    go_type = next((go for kind, go in _GO_TYPES if first["type"].startswith(kind)), "string")
    given = _json_kind(first["input"])
    target = f"Go struct field {model.__name__}.{path} of type {go_type}"
    if not path:
        target = f"Go value of type {model.__name__}"
    return f"invalid JSON: json: cannot unmarshal {given} into {target}"


def _json_kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return f"number {value}"
        case list():
            return "array"
        case _:
            return "object"
