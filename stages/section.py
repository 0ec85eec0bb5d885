"""The base of every typed part of params.yaml: frozen, strict about keys, without defaults.

Beside it the words that several parts of the house share, so that each stands once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

Gallery = Literal["target", "rest", "all"]  # what stands in a gallery
Retrieve = Literal["mix", "pooled", "max", "mean"]  # how a head's views are read
Backend = Literal["loky", "ray"]  # of joblib: processes of this machine, or of many
Match = Literal["dot", "max", "mix"]  # how the vectors of two items are compared


def twice(names: list[str]) -> str | None:
    """The first entry of a list that stands in it again."""
    return next((name for place, name in enumerate(names) if name in names[:place]), None)


def spelled(pattern: str, allowed: str) -> AfterValidator:
    """Text that matches a pattern as a whole; who writes another is told what is allowed in words."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError("spelled", "Input should be {allowed}", {"allowed": allowed})
        return text

    return AfterValidator(check)


def said(message: str) -> str:
    """What pydantic says of a value as the end of a line: without the name of the error, and begun small."""
    reason = message.removeprefix("Value error, ")
    return reason[:1].lower() + reason[1:]


class Section(BaseModel):
    """A part of params.yaml. Unknown keys are refused; defaults stand in params.yaml alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


S = TypeVar("S", bound=Section)


def with_values(section: S, values: Mapping[str, Any]) -> S:
    """The section with some other values, under the names that params.yaml gives them; pydantic's ValidationError where
    one is wrong."""
    return type(section).model_validate({**section.model_dump(by_alias=True), **values})
