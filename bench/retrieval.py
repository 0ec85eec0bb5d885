"""mAP against the double loop that most published code of this field carries, and the memory that `evaluate` takes for
it where items are many."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.row import Row, median_seconds, seconds, within
from cache.episodes import Episode
from stages import retrieval
from stages.evaluate.plan import Task
from stages.evaluate.ranking import Seen, evaluate_task
from stages.heads.head import Vectors
from stages.items import MODALITIES, Items, Modality, unit
from stages.section import Gallery

ITEMS, CLASSES, WIDTH, PROMISED = 2000, 10, 128, 15.0
MANY, MANY_CLASSES, MANY_WIDTH = 40_000, 20, 512
MEGABYTES = 300.0  # beyond the vectors themselves


def label_map_by_loops(distances: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """`fx_calc_map_label` from its definition: sort the distances, then walk every rank of every query.

    Where a query has no relevant item it scores 0. Only the sort differs: it is stable, so that ties are defined."""
    orders = distances.argsort(axis=1, kind="stable")
    found = []
    for i, order in enumerate(orders):
        precision = relevant = 0.0
        for j in range(distances.shape[1]):
            if labels[i] == labels[order[j]]:
                relevant += 1
                precision += relevant / (j + 1)
        found.append(precision / relevant if relevant > 0 else 0.0)
    return float(np.mean(found))


def label_map(scores: npt.NDArray[np.float32], relevant: npt.NDArray[np.bool_]) -> float:
    """The same with this project's ranks and average precision."""
    return float(retrieval.average_precision(retrieval.in_rank_order(relevant, retrieval.rank(scores))).mean())


def rows() -> list[Row]:
    """The time at N = 2,000, both from the same cosines, and the memory at N = 40,000."""
    return [_against_loops(), _memory()]


def _against_loops() -> Row:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, ITEMS)
    vectors = rng.standard_normal((2, ITEMS, 1, WIDTH)) + rng.standard_normal((CLASSES, 1, WIDTH))[labels] / 4
    image, text = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    scores = retrieval.score(image, text, "dot")
    relevant = labels[:, None] == labels
    apart = abs(label_map(scores, relevant) - label_map_by_loops(-scores, labels))
    if apart > 1e-12:
        raise ArithmeticError(f"mAP and its double loop differ by {apart:.1e}")
    ours = median_seconds(lambda: label_map(scores, relevant))
    theirs = median_seconds(lambda: label_map_by_loops(-scores, labels), repeats=3)
    against, note = "fx_calc_map_label, a double loop", f"N = {ITEMS}, equal to {apart:.0e}"
    return Row("mAP", ours, theirs, theirs / ours, PROMISED, against, note=note)


def _memory() -> Row:
    told = in_a_child(MANY, MANY, MANY_WIDTH)
    shape = f"{MANY:,} x {MANY:,}, {MANY_CLASSES} classes, d = {MANY_WIDTH}"
    work = f"all metrics of both directions in {told['seconds']:.0f} s"
    note = f"{shape}: {work}, in a fresh process; the most there was beyond the vectors and the ids"
    return within(f"memory of mAP, {MANY:,} x {MANY:,}", told["megabytes"], MEGABYTES, note, "MB")


def in_a_child(queries: int, gallery: int, width: int) -> dict[str, float]:
    """What a fresh process says of one task of `evaluate` on so many queries and gallery items: megabytes, seconds."""
    command = [sys.executable, "-m", "bench.retrieval", str(queries), str(gallery), str(width)]
    said: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return said


def large_task(queries: int, gallery: int, width: int) -> tuple[Task, Seen]:
    """Queries of some classes against all items of all classes, as a head would show them."""
    names = [f"{i:016x}" for i in range(gallery)]
    classes = [f"class {i:02d}" for i in range(MANY_CLASSES)]
    draw = np.random.default_rng(0)
    labels: list[tuple[str, ...]] = [(classes[i],) for i in draw.integers(0, MANY_CLASSES, gallery)]
    roles = {"test": names[:queries], "source-test": names[queries:]}
    episode = Episode("parity", 0, 1, 0, roles, dict(zip(names, labels, strict=True)), [], classes)
    contender = {"method": "bench", "variant": "default", "access": "inductive", "names": False}
    values = [unit(draw.standard_normal((gallery, 1, width), np.float32)) for _ in MODALITIES]
    seen: dict[tuple[Modality, Gallery], Vectors] = {
        (m, "all"): Vectors(own, "dot") for m, own in zip(MODALITIES, values, strict=True)
    }
    return Task("0" * 32, contender, episode, "all", 0), Seen(_nothing_but(names, labels), seen)


def _nothing_but(names: list[str], labels: list[tuple[str, ...]]) -> Items:
    return Items(names, labels, True, "bench", {}, None, None, None, None, {}, {})


def _measure(queries: int, gallery: int, width: int) -> dict[str, float]:
    """The most memory while a task is done, beyond what its input takes."""
    task, seen = large_task(queries, gallery, width)
    before = _memory_of("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most memory starts anew
    took = seconds(lambda: evaluate_task(task, seen))
    return {"megabytes": (_memory_of("VmHWM") - before) / 1e6, "seconds": took}


def _memory_of(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    print(json.dumps(_measure(*map(int, sys.argv[1:]))))
