"""The base of every typed part of params.yaml: frozen, strict about keys, without defaults."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of params.yaml. Unknown keys are refused; defaults stand in params.yaml alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
