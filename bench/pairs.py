"""Made-up pairs in memory with everything that stage two reads, and one episode of them."""

from __future__ import annotations

import numpy as np

from cache.episodes import Episode
from stages.items import MODALITIES, Array, Items, Modality, Space

WIDTH = 512
RAW: dict[Modality, int] = {"image": 1280, "text": 384}  # the towers' own widths, as lite0-minilm has them
SHOTS = 5


def make_pairs(count: int, classes: int, components: int) -> Items:
    """Pairs of an aligned encoder around a centre a class, dealt to the classes in turn: pooled (N, 512), the towers'
    own vectors (N, 1280) and (N, 384), K component views."""
    draw = np.random.default_rng(0)
    names = [f"class {i:03d}" for i in range(classes)]
    owner = np.arange(count) % classes

    def around(width: int, *views: int) -> Array:
        centres = draw.standard_normal((classes, width), np.float32)[owner].reshape(count, *[1] * len(views), width)
        return centres + draw.standard_normal((count, *views, width), np.float32)

    def named(width: int) -> dict[str, Array]:
        return dict(zip(names, draw.standard_normal((classes, width), np.float32), strict=True))

    spaces: dict[Space, dict[str, Array]] = {"joint": named(WIDTH), "raw": named(RAW["text"])}
    return Items(
        ids=[f"{i:016x}" for i in range(count)],
        labels=[(names[i],) for i in owner],
        aligned=True,
        encoder="bench",
        pooled={m: around(WIDTH) for m in MODALITIES},
        pooled_raw={m: around(RAW[m]) for m in MODALITIES},
        views={m: around(WIDTH, components) for m in MODALITIES},
        weights={m: np.full((count, components), 1 / components, np.float32) for m in MODALITIES},
        live={m: np.ones((count, components), np.bool_) for m in MODALITIES},
        names=spaces,
        keys=dict.fromkeys(("image", "text", "name", "mixtures"), "0" * 32),
    )


def episode_of(items: Items) -> Episode:
    """Parity, halves, five shots: every second class is a target, and of each class the first half is there to learn
    from, of a target class its first five."""
    classes = sorted({name for own in items.labels for name in own})
    target = set(classes[::2])
    ids: dict[str, list[str]] = {role: [] for role in ("source-train", "source-test", "support", "target-rest", "test")}
    for label in classes:
        own = [name for name, has in zip(items.ids, items.labels, strict=True) if label in has]
        train, test = own[: len(own) // 2], own[len(own) // 2 :]
        ids["test" if label in target else "source-test"] += test
        ids["support" if label in target else "source-train"] += train[: SHOTS if label in target else None]
        ids["target-rest"] += train[SHOTS:] if label in target else []
    labels = dict(zip(items.ids, items.labels, strict=True))
    return Episode("parity", 0, SHOTS, 0, ids, labels, classes[1::2], classes[::2])
