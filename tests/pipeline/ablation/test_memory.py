"""Memory at the peak of some work, whatever the process had before."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.ablation.memory import RESET, mark, peak_since


@pytest.mark.skipif(not RESET.exists(), reason="only Linux forgets a peak")
def test_what_was_there_before_does_not_count_and_what_is_gone_again_does() -> None:
    earlier = np.ones(30_000_000)  # 240 MB, gone before the mark
    del earlier
    before = mark()
    assert peak_since(before) < 20
    work = np.ones(10_000_000)  # 80 MB
    del work
    assert peak_since(before) == pytest.approx(80, abs=20)
