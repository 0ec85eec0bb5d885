"""The best ten of a million items for a query, against one pass of numpy over the same matrix, and the memory of it."""

from __future__ import annotations

import tracemalloc

import numpy as np

from bench.row import Row, best_in_turns, within
from stages.retrieval import Float32
from stages.search.index import best

ROWS, WIDTH, TOP = 1_000_000, 128, 10
SLOWER = 1.3  # at most
MEGABYTES = 8.0
ROUNDS = 9


def rows() -> list[Row]:
    """The time at a million rows, and what stands in memory beside them."""
    gallery, query = drawn(ROWS, WIDTH)
    found, scores = best(query, gallery, "dot", TOP)
    wanted = np.argsort(-(gallery[:, 0] @ query[0]), kind="stable")[:TOP]
    if not np.allclose(scores, (gallery[:, 0] @ query[0])[wanted], atol=1e-5):
        raise ArithmeticError(f"the best {TOP} of {ROWS} are {wanted.tolist()}, found were {found.tolist()}")
    return [_time(gallery, query), _memory(gallery, query)]


def drawn(count: int, width: int) -> tuple[Float32, Float32]:
    """Vectors (N, 1, d) drawn at random, and a query (1, d)."""
    draw = np.random.default_rng(0)
    return draw.standard_normal((count, 1, width), np.float32), draw.standard_normal((1, width), np.float32)


def _time(gallery: Float32, query: Float32) -> Row:
    matrix, vector = gallery[:, 0], query[0]
    took = best_in_turns({"ours": lambda: best(query, gallery, "dot", TOP), "theirs": lambda: matrix @ vector}, ROUNDS)
    return Row(
        name=f"search, {ROWS:,} items",
        ours=took["ours"],
        theirs=took["theirs"],
        ratio=took["theirs"] / took["ours"],
        promised=round(1 / SLOWER, 3),
        against="`matrix @ query` of numpy, nothing sorted",
        note=f"the best {TOP}, exactly, d = {WIDTH}; promised: at most {SLOWER} times as long",
    )


def _memory(gallery: Float32, query: Float32) -> Row:
    tracemalloc.start()
    best(query, gallery, "dot", TOP)
    most = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    note = "the most there was at a time beside the vectors, however many they are"
    return within(f"memory of search, {ROWS:,} items", most, MEGABYTES, note, "MB")
