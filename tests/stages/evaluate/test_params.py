"""What the section `evaluate` refuses, and in which words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stages.evaluate.params import EvaluateSection


def test_a_gallery_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        EvaluateSection(galleries=["all", "target", "all"], draws=100)
    (fault,) = caught.value.errors()
    assert fault["msg"] == "Value error, 'all' stands twice, name each gallery once"
