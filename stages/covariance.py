"""What EM can be asked for: light to import, for parameters and for EM alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.section import Section

Covariance = Literal["spherical", "diag"]


class EmSection(Section):
    """A mixture of K components by EM: K, its covariance, how many iterations, the temperature of the responsibilities
    (`auto` is a fifth of the width) and the floor of the variances."""

    components: int = Field(ge=1, le=8)
    covariance: Covariance
    iterations: int = Field(ge=1)
    temperature: Literal["auto"] | Annotated[float, Field(gt=0)]
    floor: float = Field(gt=0)

    @property
    def given_temperature(self) -> float | None:
        """The temperature as fit_mixture takes it: None for `auto`."""
        return None if self.temperature == "auto" else self.temperature
