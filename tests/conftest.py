"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stages.progress import report_to
from tests.listener import Listener

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")  # no test fails for a slow machine

LONG = ("test_dvc.py", "test_prompt.py", "test_quickstart.py", "train/test_run.py", "test_end_to_end.py", "test_ray.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: not str(item.path).endswith(LONG))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The research-only data beside the checkout, or at $PIPELINE_SHARED; skipped loudly where it is missing."""
    place = Path(os.environ.get("PIPELINE_SHARED", ROOT.parent / "shared"))
    if not (place / "data" / "flickr8k-core20" / "pairs.csv").exists():
        pytest.skip(f"{place} is not here: set PIPELINE_SHARED to the folder of research-only data")
    return place


@pytest.fixture
def listener() -> Iterator[Listener]:
    """What the stages tell, remembered."""
    found = Listener()
    before = report_to(found)
    yield found
    report_to(before)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests share two cores; one thread each is faster than a crowd."""
    import torch

    torch.set_num_threads(1)
