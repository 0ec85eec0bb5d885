"""Where an encoder runs, and at which precision. Light: torch alone."""

from __future__ import annotations

import torch

from cache.errors import UsageError
from stages.extract.params import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def find_device(device: str) -> torch.device:
    """The device of a name: `auto` is a GPU where there is one. UsageError for a GPU that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(device)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[found.type] or (found.index or 0) >= max(torch.cuda.device_count(), 1):
        raise UsageError(f"extract.device is {device}, and torch finds no such device here; use --device cpu")
    return found
