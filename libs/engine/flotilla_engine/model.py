"""Base of all Engine API models: PascalCase on the wire, Go's idea of null and of types."""

from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


def pascal_case(name: str) -> str:
    """Turn ``cpu_shares`` into ``CpuShares``, the wire name of most fields."""
    return "".join([part.capitalize() for part in name.split("_")])


class EngineModel(BaseModel):
    """A shape of the Engine API.

    As with Go's decoder unknown fields are ignored, a null leaves the field at its default, and
    a value of another JSON type is an error.
    """

    model_config = ConfigDict(
        alias_generator=pascal_case,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="ignore",
        strict=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if None in value.values():
            value = {key: item for key, item in value.items() if item is not None}
        for key, item in value.items():
            if _has_null(item) and key in _texts(cls):
                value = value | {key: _filled(item)}
        return value


@cache
def _texts(model: type[EngineModel]) -> frozenset[str]:
    """Return the wire names of a model's lists and maps of texts."""
    return frozenset(
        field.alias or name
        for name, field in model.model_fields.items()
        if field.annotation in (list[str], list[str] | None, dict[str, str])
    )


def _has_null(value: Any) -> bool:
    match value:
        case list():
            return None in value
        case dict():
            return None in value.values()
        case _:
            return False


def _filled(value: Any) -> Any:
    """Put an empty text, Go's zero value, where there is a null."""
    if isinstance(value, list):
        return ["" if item is None else item for item in value]
    return {key: "" if item is None else item for key, item in value.items()}
