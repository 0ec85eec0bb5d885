from __future__ import annotations

import pytest
import torch

from cache.errors import UsageError
from stages.extract.encoders.device import find_device


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    with pytest.raises(UsageError) as caught:
        find_device("cuda:1")
    assert str(caught.value) == "extract.device is cuda:1, and torch finds no such device here; use --device cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find_device("auto") == torch.device("cuda")
    with pytest.raises(UsageError):
        find_device("cuda:1")
