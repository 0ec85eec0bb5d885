"""SCM (ours): few-shot semantic correlation matching. Retrieval here is by category, so what best stands for an item is
its posterior over the target classes, by few-shot classifiers on whitened features (DESIGN section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cache.errors import UserError
from stages.heads import posterior
from stages.heads.head import Affine, to_sphere
from stages.heads.posterior import PosteriorHead, Vote, raw_of
from stages.items import MODALITIES, Array, Modality, Space, unit
from stages.train.episode import TrainEpisode, describe, fitted, space
from stages.train.params import Covariance, ScmSection
from stages.train.whitening import Spectrum, spectrum

Spectra = Mapping[Modality, Spectrum]


@dataclass(frozen=True)
class Evidence:
    """What an episode's rows say in one space: features[m] (N, D_m) unit vectors; names (C, D) the class names as
    texts, zero where one has no vector; members (N, C) bool, which row is of which class, target classes first."""

    space: Space
    features: dict[Modality, Array]
    names: Array
    members: NDArray[np.bool_]


def fit(episode: TrainEpisode, section: ScmSection, seed: int) -> PosteriorHead:  # noqa: ARG001
    """Whiten the features and set a prototype for each class; UserError where a name that is to judge has no vector."""
    return prepare(episode)(section)


def prepare(episode: TrainEpisode) -> Callable[[ScmSection], PosteriorHead]:
    """`fit` of one episode under many sections: what they share is computed once. One thread, so that the numbers do
    not depend on how many cores there are."""
    align = space(episode)
    evidence = cache(lambda where: gather(episode, align, where))
    spectra = cache(lambda where, covariance: spectra_of(evidence(where), covariance))

    def judge(where: Space, section: ScmSection) -> Vote:
        if section.names:
            _require_names(evidence(where), episode)
        return vote(evidence(where), spectra(where, section.covariance), section, bool(episode.support.any()))

    def head(section: ScmSection) -> PosteriorHead:
        with threadpool_limits(limits=1):
            votes = tuple(judge(where, section) for where in _spaces(section))
        return PosteriorHead(_about(episode, section, votes), align, votes)

    return head


def _about(episode: TrainEpisode, section: ScmSection, votes: tuple[Vote, ...]) -> dict[str, Any]:
    return {
        **describe(episode, "scm", posterior.KIND),
        **fitted(episode, section),
        "classes": _judged(episode, section),
        "tau": section.tau,
        "cosine": section.cosine,
        "votes": posterior.about_votes(votes),
    }


def _judged(episode: TrainEpisode, section: ScmSection) -> dict[str, list[str]]:
    """The classes that have a prototype: all, or none where there is neither a support nor a name."""
    if not section.names and not episode.support.any():
        return {"target": [], "source": []}
    return {"target": episode.target, "source": episode.source}


def _spaces(section: ScmSection) -> tuple[Space, ...]:
    return ("joint", "raw") if section.vote_image or section.vote_text else ("joint",)


def _require_names(evidence: Evidence, episode: TrainEpisode) -> None:
    for name, vector in zip((*episode.target, *episode.source), evidence.names, strict=True):
        if not np.linalg.norm(vector) > 0:
            raise UserError(
                f"class '{name}': its name has no vector to judge by; rename the class, or set train.scm.names to false"
            )


def gather(episode: TrainEpisode, align: Mapping[Modality, Affine], where: Space) -> Evidence:
    """The features, names and members of an episode in one space."""
    items = episode.items
    classes = [*episode.target, *episode.source]
    known = items.names.get("raw" if where == "raw" and items.aligned else "joint", {})
    width = len(next(iter(known.values()))) if known else items.pooled["text"].shape[1]
    named = np.stack([known.get(name, np.zeros(width, np.float32)) for name in classes])
    members = np.array([[name in own for name in classes] for own in items.labels])
    if where == "raw":
        return Evidence(where, {m: raw_of(items, m) for m in MODALITIES}, unit(named), members)
    features = {m: to_sphere(items.pooled[m], items.aligned, align.get(m)) for m in MODALITIES}
    held = np.linalg.norm(named, axis=1, keepdims=True) > 0
    return Evidence(where, features, to_sphere(named, items.aligned, align.get("text")) * held, members)


def spectra_of(evidence: Evidence, covariance: Covariance) -> Spectra:
    """One covariance of both modalities, stacked, where they share a space; else one of each."""
    centred = {m: (x - x.mean(axis=0)).astype(np.float64) for m, x in evidence.features.items()}
    if evidence.space == "raw":
        return {m: spectrum(x, evidence.members, covariance) for m, x in centred.items()}
    both = np.concatenate([centred[m] for m in MODALITIES]), np.concatenate([evidence.members] * len(MODALITIES))
    return dict.fromkeys(MODALITIES, spectrum(*both, covariance))


def vote(evidence: Evidence, spectra: Spectra, section: ScmSection, shots: bool) -> Vote:
    """The vote of one space: p_c = unit(lambda name_c + the sum of its examples, whitened), of both modalities'
    examples where they share the space. Without a shot no picture judges in the towers' own spaces (b_v = 0)."""
    joint = evidence.space == "joint"
    shrinkage = section.shrinkage if joint else section.vote_shrinkage
    whiten = {m: spectra[m].whiten(x.mean(axis=0), shrinkage) for m, x in evidence.features.items()}
    examples = {m: evidence.members.T.astype(np.float32) @ unit(whiten[m](evidence.features[m])) for m in MODALITIES}
    named = section.name_weight * _named(evidence, whiten["text"]) if section.names else np.float32(0)
    shares: dict[Modality, float] = {"image": section.vote_image if shots else 0.0, "text": section.vote_text}
    if joint:
        prototype = unit(named + examples["image"] + examples["text"])
        return Vote("joint", whiten, dict.fromkeys(MODALITIES, prototype), {m: 1 - shares[m] for m in MODALITIES})
    prototypes: dict[Modality, Array] = {"image": unit(examples["image"]), "text": unit(named + examples["text"])}
    return Vote("raw", whiten, prototypes, shares)


def _named(evidence: Evidence, whiten: Affine) -> Array:
    """The class names (C, d) as whitened unit vectors, about their own mean."""
    return unit(Affine(evidence.names.mean(axis=0), whiten.map)(evidence.names))
