"""Base of all Engine API models: PascalCase on the wire, Go's idea of null and of types."""

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
        if isinstance(value, dict) and None in value.values():
            return {key: item for key, item in value.items() if item is not None}
        return value
