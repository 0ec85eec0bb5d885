"""The covariances that a mixture's component may have: light to import, for parameters and for EM alike."""

from __future__ import annotations

from typing import Literal

Covariance = Literal["spherical", "diag"]
