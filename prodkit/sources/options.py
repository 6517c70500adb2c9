"""What `data_sources.NAME.options` of prodkit.yaml may say about tables that people keep by hand."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from prodkit.errors import ConfigError, nearest


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("write a zone as Europe/Berlin or UTC") from None
    return value


class TableOptions(BaseModel):
    """How columns are found, named and understood. Empty: columns keep their names, values their types."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Our name -> the names under which people keep it, best first."
    )
    types: dict[str, Literal["text", "number", "datetime"]] = Field(
        default_factory=dict, description="Our name -> how its values are understood; others are text."
    )
    values: dict[str, dict[str, tuple[str, ...]]] = Field(
        default_factory=dict, description="Our name -> our value -> the words that people use for it."
    )
    units: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Our name -> units that may stand beside a number, e.g. EUR."
    )
    key: str = Field(default="", description="The column that every row must have; helps to tell rows from footers.")
    drop_copies: bool = Field(default=False, description="Take rows that are equal in all columns once.")
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(
        default=None, description="Zone of the times; they become UTC. Without it they stay as they are written."
    )
    separator: str = Field(default="", max_length=1, description="Of csv files; empty: by the file's own evidence.")


def parse_options(source: str, options: dict[str, object]) -> TableOptions:
    """The options of a source.

    Raises:
        ConfigError: `sources.option` names the key and the nearest known one.
    """
    try:
        return TableOptions.model_validate(options)
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(str(part) for part in detail["loc"])
        unknown = detail["type"] == "extra_forbidden"
        raise ConfigError(
            "sources.option",
            f"The option `{key}` isn't known." if unknown else f"The option `{key}` is wrong: {detail['msg']}.",
            where=f"prodkit.yaml (data_sources.{source}.options)",
            fix=nearest(key, TableOptions.model_fields) if unknown else "",
        ) from error
