"""The ground floor: every artefact that stages hand each other, and the store they lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.features import FeatureCache

__all__ = ["FeatureCache"]


def __getattr__(name: str) -> Any:
    """`cache.FeatureCache`, imported when asked for: `cache.errors` alone must not cost h5py and pyarrow."""
    if name == "FeatureCache":
        from cache.features import FeatureCache

        return FeatureCache
    raise AttributeError(f"module 'cache' has no attribute '{name}'")
