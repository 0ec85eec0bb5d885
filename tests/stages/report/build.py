"""Made-up but plausible results: three methods, four shot counts, five seeds, curves and mixtures; and beneath them the
small world to train in, with pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cache import shards
from cache.episodes import write_episodes
from cache.files import digest_bytes, write_json
from cache.heads import HEAD
from cache.manifest import Manifest, write_manifest
from cache.scores import write_history, write_queries, write_scores
from cache.store import Ledger, LedgerKey, folder_of, read_ledger, write_ledger
from stages import stats
from stages.heads.files import save_head
from stages.heads.linear import KIND, LinearHead, Residual
from stages.items import MODALITIES
from stages.report.content import METRICS
from stages.report.params import ReportParams
from tests.stages.small_features import place
from tests.stages.train import build as world

SHOTS, SEEDS = (0, 1, 3, 5), 5
CURVES = {
    "cca": (0.208, 0.308, 0.422, 0.476),
    "gap": (0.214, 0.325, 0.431, 0.489),
    "gcrdp": (0.219, 0.343, 0.45, 0.503),
}
LEVELS = dict(zip(METRICS, (1, 1.2, 0.96, 1.15, 1.05, 0.98, 0.9, 0.08, 0.3, 0.45), strict=True))
SHARED: dict[str, Any] = {"dataset": "openmoji", "encoder": "lite0-minilm", "features": "1" * 32}
METHOD: dict[str, Any] = {"variant": "default", "access": "inductive", "names": False}
ABOUT: dict[str, Any] = {
    "dataset": "openmoji",
    "encoder": "lite0-minilm",
    "made_from": "0123456789abcdef" * 2,
    "values_from": "photos, parity, source classes",
    "machine": "a processor, 2 cores",
    "software": {"this project": "0.1.0", "python": "3.11.7"},
    "params": {
        "dataset": "openmoji",
        "encoder": "lite0-minilm",
        "ingest": {"captions": "first", "table": {"path": None}},
        "split": {"protocol": "parity", "halves": 1, "shots": list(SHOTS), "seeds": SEEDS},
        "mixture": {"components": 3, "covariance": "spherical", "temperature": "auto"},
        "train": {"methods": list(CURVES), "gcrdp": {"theta": 0.8, "lambda": 10.0, "positives": "out"}},
    },
}


def seeds_of(method: str, shots: int) -> range:
    """Only CCA at 0 shots, and chance, depend on no seed."""
    return range(1) if method == "chance" or (method, shots) == ("cca", 0) else range(SEEDS)


def value(method: str, shots: int, seed: int) -> float:
    """The main figure."""
    if method == "chance":
        return 0.098
    spread = np.random.default_rng([seed, shots]).normal() * (0.012 if len(seeds_of(method, shots)) > 1 else 0)
    return float(CURVES[method][SHOTS.index(shots)] + spread + 0.001 * np.sin(7 * seed + len(method)))


def score_rows() -> list[dict[str, Any]]:
    """Every metric, gallery and direction of every method and chance."""
    return [
        {
            **SHARED,
            **METHOD,
            "method": method,
            "protocol": "parity",
            "half": 0,
            "shots": shots,
            "seed": seed,
            "gallery": gallery,
            "direction": direction,
            "metric": metric,
            "value": value(method, shots, seed) * level * {"target": 1, "rest": 0.97, "all": 0.71}[gallery] * skew,
        }
        for method in ("chance", *CURVES)
        for shots in SHOTS
        for seed in seeds_of(method, shots)
        for gallery in ("target", "rest", "all")
        for direction, skew in (("i2t", 0.96), ("t2i", 1.04), ("mean", 1.0))
        for metric, level in LEVELS.items()
        if not (gallery == "rest" and metric.startswith("recall"))
    ]


def metrics() -> dict[str, Any]:
    """metrics.json as evaluate writes it."""
    return {
        "mAP": {"chance": 0.098, **{m: {str(s): _mean(m, s) for s in SHOTS} for m in CURVES}},
        "modality_gap": {m: {str(s): 0.6 - 0.05 * i for s in SHOTS} for i, m in enumerate(CURVES)},
        "counts": {
            "queries": 214,
            "target_classes": 11,
            "seeds": SEEDS,
            "halves": 1,
            "without_relevant": {"target": 0, "rest": 0, "all": 0},
        },
        "means": [_entry(method, shots) for method in CURVES for shots in SHOTS],
        "differences": [
            _difference(a, b, shots) for shots in SHOTS for b, a in (("cca", "gap"), ("cca", "gcrdp"), ("gap", "gcrdp"))
        ],
    }


def _mean(method: str, shots: int) -> float:
    return float(np.mean([value(method, shots, seed) for seed in seeds_of(method, shots)]))


def _entry(method: str, shots: int) -> dict[str, Any]:
    values, mean = [value(method, shots, seed) for seed in seeds_of(method, shots)], _mean(method, shots)
    support = stats.support_interval(values)
    intervals = {"support": support and list(support), "class": [mean - 0.06, mean + 0.07]}
    return {"label": method, "method": method, **METHOD, "shots": shots, "mAP": mean, "seeds": len(values), **intervals}


def _difference(a: str, b: str, shots: int) -> dict[str, Any]:
    apart = np.array([value(a, shots, seed) - value(b, shots, seed) for seed in range(SEEDS)])
    middle, support = float(apart.mean()), stats.support_interval(apart)
    width = 0.004 + 0.003 * shots
    shown = middle - width > 0
    return {
        "a": a,
        "b": b,
        "shots": shots,
        "difference": middle,
        "support": support and list(support),
        "class": [middle - width, middle + width],
        "p": 0.001 if shown else 0.2,
        "p_holm": 0.003 if shown else 0.4,
    }


def history_rows() -> list[dict[str, Any]]:
    """Training curves of gap and gcrdp."""
    terms = {"loss": 40, "contrast_image": 3, "contrast_text": 2.6, "regularisation": 3.4, "distance": 0.05}
    names = {"gap": {"loss": 3.5}, "gcrdp": {**terms, "mask_density": 0.36, "drift": 0.2, "weight_image_0": 0.4}}
    return [
        {
            "method": method,
            "variant": "default",
            "half": 0,
            "shots": shots,
            "seed": seed,
            "step": step,
            "name": name,
            "value": start * (0.55 + 0.45 * np.exp(-step / 20) - 0.01 * shots + 0.01 * np.sin(step + seed)),
        }
        for method, started in names.items()
        for shots in SHOTS
        for seed in range(2)
        for step in range(80)
        for name, start in started.items()
    ]


DIAGNOSTICS: dict[str, Any] = {
    "image": {
        "items": 1042,
        "collapsed": 12,
        "short": 0,
        "weights": [0.46, 0.32, 0.22],
        "live": 3.0,
        "objective": [1210.2, 1255.0, 1270.8, 1275.1, 1276.0],
        "cosine": 0.71,
    },
    "text": {
        "items": 1042,
        "collapsed": 31,
        "short": 44,
        "weights": [0.52, 0.3, 0.18],
        "live": 2.94,
        "objective": [401.7, 418.3, 421.9, 422.4, 422.5],
        "cosine": 0.64,
    },
}


SELECTIONS: list[dict[str, Any]] = [
    {
        "method": "gap",
        "variant": variant,
        "protocol": "random",
        "half": half,
        "shots": shots,
        "values": {"tau": 0.1 if shots == 5 else 0.05, "covariance": "total" if (half, shots) == (2, 3) else "within"},
    }
    for variant in ("default", "nameless")
    for half in range(3)
    for shots in SHOTS
]


def query_rows() -> list[dict[str, Any]]:
    """Every method's answer to every test item at the largest shot count, both ways: own class first as often as the
    method is good, ids in the order of the world."""
    test = world.episode().ids["test"]
    return [
        {
            **SHARED,
            **METHOD,
            "method": method,
            "protocol": "parity",
            "half": 0,
            "shots": SHOTS[-1],
            "seed": seed,
            "gallery": gallery,
            "direction": direction,
            "query": query,
            "ap": average_precision(method, query, seed, direction),
            "top10": sorted(test, key=lambda other: (other[:3] == query[:3]) != (rank % 2 == 0))[:10],
        }
        for rank, method in enumerate(CURVES)
        for seed in range(2)
        for gallery in ("target", "all")
        for direction in ("i2t", "t2i")
        for query in test
    ]


def average_precision(method: str, query: str, seed: int, direction: str) -> float:
    """Better under later methods, for later items of a class, and for ants than for cats than for eels."""
    place = ("eel", "cat", "ant").index(query[:3]) + list(CURVES).index(method) / 10 + int(query[4:]) / 100
    return 0.2 + 0.2 * place + (0.01 if direction == "t2i" else -0.01) * (1 + seed)


def write_pictures(folder: Path) -> None:
    """A manifest with a small picture of an own colour for each pair of the world."""
    (folder / "images").mkdir()
    data = [_picture(number) for number in range(len(world.IDS))]
    for name, one in zip(world.IDS, data, strict=True):
        (folder / f"images/{name}.png").write_bytes(one)
    texts = [[f"a drawing of {name} <b>"] for name in world.IDS]
    labels, named = [list(own) for own in world.LABELS], [f"{name}.png" for name in world.IDS]
    digests, sizes = [digest_bytes(one) for one in data], [len(one) for one in data]
    made = Manifest("openmoji", "images", world.IDS, named, texts, labels, [None] * len(data), sizes, digests)
    write_manifest(folder / "pairs.parquet", made, "made")


def _picture(number: int) -> bytes:
    out = io.BytesIO()
    pixels = np.full((24, 36, 3), 255, np.uint8)
    pixels[6:18, 8:28] = [5 * number, 255 - 5 * number, 90]
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write_world(folder: Path) -> LedgerKey:
    """The store and the ledger of features, and the key of the mixtures: 3 x 3 patches a picture."""
    values = [np.concatenate([world.tokens(m), world.tokens(m)[:, :4]], axis=1) for m in (0, 1)]
    told: dict[str, object] = {"preprocess": {"size": [24, 24], "resize_mode": "shortest"}}
    labels = [list(own) for own in world.LABELS]
    place(folder, world.IDS, values[0], [[own] for own in values[1]], labels, told=told)
    world.add_names(folder / "features.json", folder / "store", aligned=True)
    world.add_mixtures(folder, values)
    return replace(read_ledger(folder / "mixtures.json").keys[0], about={"diagnostics": DIAGNOSTICS, "groups": "em"})


def write_heads(folder: Path) -> list[LedgerKey]:
    """The heads of the first draw: cca adds nothing, the others turn the space a little."""
    rng = np.random.default_rng(4)
    draw = {"protocol": "parity", "half": 0, "shots": SHOTS[-1], "seed": 0}
    keys = []
    for number, method in enumerate(CURVES):
        turn = {
            m: Residual(*(0.1 * rng.standard_normal(size).astype(np.float32) for size in SIZES)) for m in MODALITIES
        }
        about = {"kind": KIND, "method": method, "encoder": "tiny", "aligned": True, "retrieve": "mix"}
        kept = folder_of(folder / "store", "heads", f"{number:032x}")
        shards.begin(kept, {}, (HEAD,))
        written = shards.temporary(kept)
        save_head(written, LinearHead(about, {}, turn if number else {}))
        shards.record(kept, written, HEAD, 0)
        keys.append(LedgerKey("heads", kept.name, shards.folder_digest(kept), {**METHOD, "method": method, **draw}))
    return keys


SIZES = ((world.WIDTH, world.WIDTH), (world.WIDTH,))


def write_inputs(folder: Path, history: bool = True) -> ReportParams:
    """All inputs of the stage in a folder, and its parameters."""
    write_scores(folder / "scores.parquet", score_rows(), "made")
    write_queries(folder / "queries.parquet", query_rows(), "made")
    write_history(folder / "history.parquet", history_rows() if history else [], "made")
    write_json(folder / "metrics.json", metrics())
    write_ledger(folder / "mixtures.json", Ledger("mixtures", "made", {}, (write_world(folder),)))
    write_pictures(folder)
    write_episodes(folder / "episodes.parquet", [world.episode(shots) for shots in SHOTS], "made")
    chosen = tuple(LedgerKey("selections", f"{i:032x}", "4" * 32, about) for i, about in enumerate(SELECTIONS))
    write_ledger(folder / "heads.json", Ledger("heads", "made", {}, (*write_heads(folder), *chosen)))
    return pointing(folder)


def pointing(folder: Path) -> ReportParams:
    """The parameters that point to what `write_inputs` has made."""
    return ReportParams(
        captions="first",
        home=folder,
        store=folder / "store",
        manifest=folder / "pairs.parquet",
        features=folder / "features.json",
        episodes=folder / "episodes.parquet",
        scores=folder / "scores.parquet",
        queries=folder / "queries.parquet",
        metrics=folder / "metrics.json",
        history=folder / "history.parquet",
        mixtures=folder / "mixtures.json",
        heads=folder / "heads.json",
        page=folder / "report.html",
        table=folder / "table.md",
        plots=folder / "plots",
        about=ABOUT,
    )
