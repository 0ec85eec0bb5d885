"""Threads: one for linear algebra where numbers must not depend on how many cores there are, and one a batch, side by
side, where torch's own threads would wait for each other at every operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import TypeVar

import torch
from scipy import linalg as _loads_blas  # noqa: F401 - what is to be limited must be there when it is looked for
from threadpoolctl import ThreadpoolController

Work = TypeVar("Work")
Done = TypeVar("Done")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries: 20 ms, too dear for every fit of a selection


def one_blas_thread() -> AbstractContextManager[object]:
    """numpy and scipy on one thread for a while. Torch counts its threads itself: see loop.one_thread."""
    limit: AbstractContextManager[object] = _controller().limit(limits=1)
    return limit


def side_by_side(run: Callable[[Work], Done], work: Sequence[Work]) -> Iterator[Done]:
    """`run` on each piece of work, in order, on as many threads as torch may use, each with one thread inside.

    On a busy machine that is several times quicker, and no figure depends on the number of threads. The first error
    ends it: what has not begun is dropped.
    """
    threads = torch.get_num_threads()
    with one_blas_thread():
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield from pool.map(run, work)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # the pool's threads set it for every thread to come
