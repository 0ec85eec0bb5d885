"""One thread for linear algebra, so that numbers do not depend on how many cores there are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from scipy import linalg as _loads_blas  # noqa: F401 - what is to be limited must be there when it is looked for
from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries: 20 ms, too dear for every fit of a selection


def one_blas_thread() -> AbstractContextManager[object]:
    """numpy and scipy on one thread for a while. Torch counts its threads itself: see loop.one_thread."""
    limit: AbstractContextManager[object] = _controller().limit(limits=1)
    return limit
