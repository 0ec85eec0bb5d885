"""A small world to train in: pairs of six classes with tokens, views, episodes, and a store that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cache import shards
from cache.episodes import Episode, write_episodes
from cache.features import PART_NAME, Part, file_names, finish, write_part
from cache.mixtures import FILES, MixtureRows, write_mixture
from cache.store import Ledger, LedgerKey, folder_of, make_key, read_ledger, write_ledger
from stages.items import Items
from stages.train.episode import TrainEpisode, train_episode
from stages.train.params import (
    CcaSection,
    CmmSection,
    FlexclipSection,
    GapSection,
    GcrdpSection,
    GeneratorSection,
    ScmSection,
    TrainParams,
    TrainSection,
)
from tests.conftest import ROOT
from tests.stages.small_features import place

CLASSES = ["ant", "bee", "cat", "dog", "eel", "fox"]
TARGET, SOURCE = CLASSES[::2], CLASSES[1::2]
EACH, TRAIN, WIDTH, TOKENS, K = 8, 4, 12, 5, 3
IDS = [f"{name}-{i}" for name in CLASSES for i in range(EACH)]
LABELS = [(name.split("-")[0],) for name in IDS]
ALIGN = CcaSection(dims=6, ridge=1.0, power=1.0)


def tokens(seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """(48, TOKENS, width) float16: a class's middle, an item's own place, a token's noise."""
    rng = np.random.default_rng(seed)
    middle = np.random.default_rng(7).standard_normal((len(CLASSES), WIDTH)) @ rng.standard_normal((WIDTH, width))
    middle = middle if seed else np.random.default_rng(7).standard_normal((len(CLASSES), WIDTH))[:, :width]
    own = rng.standard_normal((len(IDS), 1, width))
    noise = rng.standard_normal((len(IDS), TOKENS, width))
    return (np.repeat(middle, EACH, axis=0)[:, None] + own + noise).astype(np.float16)


def mixture(values: np.ndarray, components: int = K) -> MixtureRows:
    """Tokens dealt round robin into K views; the last component of every fourth item is dead where K > 1."""
    n, t = values.shape[:2]
    owners = np.tile(np.eye(components, dtype=np.float16)[np.arange(t) % components], (n, 1, 1))
    live = np.ones((n, components), np.bool_)
    if components > 1:
        owners[::4, :, 0] += owners[::4, :, -1]
        owners[::4, :, -1] = 0
        live[::4, -1] = False
    mass = owners.sum(1, dtype=np.float64)
    views = np.einsum("ntk,ntd->nkd", owners, values.astype(np.float64)) / np.maximum(mass, 1)[..., None]
    views[~live] = views[np.flatnonzero((~live).any(1)), 0]
    return MixtureRows(
        views=views.astype(np.float32),
        weights=(mass / t).astype(np.float32),
        responsibilities=owners.reshape(-1, components),
        offsets=np.arange(n + 1, dtype=np.int64) * t,
        objective=np.zeros((n, 1), np.float32),
        live=live,
    )


def items(aligned: bool = True, components: int = K) -> Items:
    """The 48 pairs in memory."""
    values = {"image": tokens(0), "text": tokens(1)}
    rows = {m: mixture(v, components) for m, v in values.items()}
    return Items(
        ids=IDS,
        labels=LABELS,
        aligned=aligned,
        encoder="tiny",
        pooled={m: v.astype(np.float32).mean(1) for m, v in values.items()},
        pooled_raw=None,
        views={m: r.views for m, r in rows.items()},
        weights={m: r.weights for m, r in rows.items()},
        live={m: r.live for m, r in rows.items()},
        names={"joint": names()},
        keys={name: name[0] * 32 for name in ("image", "text", "name", "mixtures")},
    )


def names() -> dict[str, np.ndarray]:
    """A vector for each class name, (WIDTH,) float32."""
    vectors = np.random.default_rng(3).standard_normal((len(CLASSES), WIDTH)).astype(np.float32)
    return dict(zip(CLASSES, vectors, strict=True))


def episode(shots: int = 2, seed: int = 0, protocol: str = "parity") -> Episode:
    """One draw: the first four of a class are its train half."""
    drawn = {name: np.random.default_rng(seed).permutation(TRAIN)[:shots].tolist() for name in TARGET}
    ids: dict[str, list[str]] = {role: [] for role in ("source-train", "source-test", "support", "target-rest", "test")}
    for name in IDS:
        kind, number = name.split("-")
        if kind in TARGET:
            held = "support" if int(number) in drawn[kind] else "target-rest"
            ids["test" if int(number) >= TRAIN else held].append(name)
        else:
            ids["source-test" if int(number) >= TRAIN else "source-train"].append(name)
    return Episode(protocol, 0, shots, seed, ids, dict(zip(IDS, LABELS, strict=True)), SOURCE, TARGET)


CLASSIFIERS: dict[str, dict[str, Any]] = {  # the methods of classification, and what makes their sections small
    "linear_probe": {"l2": [1.0, 0.1]},
    "cross_modal": {"l2": [1.0, 0.1]},
    "tip_adapter": {},
    "tip_adapter_f": {"steps": 4},
    "cmm_classifier": {"steps": 4, "every": 2, "lr": [1.0e-3]},
}
DRAWN = [episode(0, 0), episode(2, 0), episode(2, 1)]


def fit_on(shots: int = 2, aligned: bool = True, components: int = K) -> TrainEpisode:
    """What a method's fit gets."""
    return train_episode(episode(shots), items(aligned, components), ALIGN)


def shipped() -> dict[str, Any]:
    """The section `train` of params.yaml."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]
    return found


def gap_section(**changes: Any) -> GapSection:
    return GapSection(**{**shipped()["gap"], "steps": 4, "batch": 8, **changes})


def gcrdp_section(**changes: Any) -> GcrdpSection:
    return GcrdpSection(**{**shipped()["gcrdp"], "steps": 4, "batch": 8, **changes})


def flexclip_section(**changes: Any) -> FlexclipSection:
    small = {"steps": 4, "batch": 8, "hidden": 5, "generated": 4, "generator": generator_section()}
    return FlexclipSection(**{**shipped()["flexclip"], **small, **changes})


def generator_section(**changes: Any) -> GeneratorSection:
    small = {"steps": 2, "batch": 8, "hidden": 5, "latent": 3}
    return GeneratorSection(**{**shipped()["flexclip"]["generator"], **small, **changes})


def cmm_section(**changes: Any) -> CmmSection:
    return CmmSection(**{**shipped()["cmm"], "steps": 4, "batch": 8, **changes})


def scm_section(**changes: Any) -> ScmSection:
    """The first of every listed value, so that nothing is chosen."""
    first = {name: value[0] if isinstance(value, list) else value for name, value in shipped()["scm"].items()}
    return ScmSection(**{**first, "generator": generator_section(), **changes})


def section(methods: Sequence[str], **gcrdp: Any) -> TrainSection:
    """The section `train`, made small."""
    cca = {"dims": 6, "ridge": 1.0, "power": 1.0}
    parts: dict[str, Any] = {
        "gap": gap_section(),
        "gcrdp": gcrdp_section(**gcrdp),
        "cmm": cmm_section(),
        "scm": scm_section(),
    }
    parts["flexclip"] = flexclip_section()
    parts |= {name: {**shipped()[name], **small} for name, small in CLASSIFIERS.items()}
    return TrainSection(**{**shipped(), "methods": list(methods), "align": cca, "cca": cca, **parts})


def params(folder: Path, methods: Sequence[str], aligned: bool = True, **gcrdp: Any) -> TrainParams:
    """A store with everything that `train` reads, and the parameters that point to it."""
    values = [tokens(0), tokens(1)]
    labels = [list(own) for own in LABELS]
    place(folder, IDS, values[0], [[own] for own in values[1]], labels)
    add_names(folder / "features.json", folder / "store", aligned)
    add_mixtures(folder, values)
    write_episodes(folder / "episodes.parquet", DRAWN, "test")
    return pointing(folder, methods, **gcrdp)


def pointing(folder: Path, methods: Sequence[str], **gcrdp: Any) -> TrainParams:
    """The parameters that point to what `params` has made."""
    named = {name: folder / f"{name}.json" for name in ("features", "mixtures", "ledger")}
    return TrainParams(
        section=section(methods, **gcrdp),
        captions="first",
        store=folder / "store",
        manifest=folder / "pairs.parquet",
        episodes=folder / "episodes.parquet",
        history=folder / "history.parquet",
        made_from="stamp",
        wait_for_lock=False,
        **named,
    )


def add_names(ledger: Path, store: Path, aligned: bool) -> None:
    """The cache of class names under two templates, and what the ledger says of the encoder."""
    names = [name for name in CLASSES for _ in range(2)]
    pooled = np.random.default_rng(3).standard_normal((len(names), WIDTH)).astype(np.float32)
    captions = np.tile(np.arange(2, dtype=np.int32), len(CLASSES))
    ones = np.ones(len(names), np.int32)
    part = Part(names, captions, ones, ones > 1, None, None, pooled, None)
    content = {"rows": "name"}
    folder = folder_of(store, "features", make_key("features", content))
    shards.begin(folder, {"rows": "name", "content": content}, file_names(1))
    finished = shards.temporary(folder)
    write_part(finished, part)
    shards.record(folder, finished, PART_NAME(0), len(names))
    finish(folder)
    found = read_ledger(ledger)
    key = LedgerKey("features", folder.name, shards.folder_digest(folder), {"rows": "name"})
    write_ledger(ledger, replace(found, about={**found.about, "aligned": aligned}, keys=(*found.keys, key)))


def add_mixtures(folder: Path, values: Sequence[np.ndarray], components: int = K) -> None:
    """The views of both modalities in the store, and their ledger."""
    content = {"components": components, "rows": [len(v) for v in values]}
    kept = folder_of(folder / "store", "mixtures", make_key("mixtures", content))
    shards.begin(kept, {"content": content}, FILES)
    for name, own in zip(FILES, values, strict=True):
        finished = shards.temporary(kept)
        write_mixture(finished, mixture(own, components))
        shards.record(kept, finished, name, len(own))
    key = LedgerKey("mixtures", kept.name, shards.folder_digest(kept), {})
    write_ledger(folder / "mixtures.json", Ledger("mixtures", "test", {}, (key,)))
