"""SCM (ours): few-shot semantic correlation matching. Retrieval here is by category, so what best stands for an item is
its posterior over the target classes, by few-shot classifiers on whitened features (DESIGN section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import MissingError
from stages.heads import posterior
from stages.heads.attention import Attention, attended, tokens_of
from stages.heads.head import Affine, to_sphere
from stages.heads.posterior import Neighbours, PosteriorHead, Vote, raw_of
from stages.items import MODALITIES, Array, Captions, Items, Modality, Space, unit
from stages.threads import one_blas_thread
from stages.tokens import Tokens
from stages.train.episode import (
    TrainEpisode,
    describe,
    fitted,
    inductive,
    members_of,
    name_vectors,
    require_names,
    space,
)
from stages.train.generator import Made, make_pairs
from stages.train.params import GeneratorSection, Scatter, ScmSection
from stages.train.unlabelled import Judge, refine
from stages.train.whitening import Spectrum, spectrum

Spectra = Mapping[Modality, Spectrum]


@dataclass(frozen=True)
class Evidence:
    """What an episode's rows say in one space: features[m] (N, D_m) unit vectors; names (C, D) the class names as
    texts, zero where one has no vector; members (N, C) bool, which row is of which class, target classes first.
    made[m] (C', n, D_m): made-up unit vectors of the first C' classes, nothing where there are none.
    middle[m] (D_m,) is what features are centred on; unlabelled[m] (n, D_m) unit vectors of what access lets in.
    captions: every caption of the rows, `pooled` (T, D_text) being unit vectors of the space, None where not read.
    support (N,) bool; tokens: the rows', None where nobody has them; align: what maps these into the joint space."""

    space: Space
    features: dict[Modality, Array]
    names: Array
    members: NDArray[np.bool_]
    middle: dict[Modality, Array]
    unlabelled: dict[Modality, Array]
    captions: Captions | None
    support: NDArray[np.bool_]
    tokens: dict[Modality, Tokens] | None
    align: Mapping[Modality, Affine]
    made: Mapping[Modality, Array] = field(default_factory=dict)


def fit(episode: TrainEpisode, section: ScmSection, seed: int) -> PosteriorHead:
    """Whiten the features and set a prototype for each class; UserError where a name that is to judge has no vector.

    The seed decides what `generated` pairs are made up, and nothing else."""
    return prepare(episode, seed)(section)


@dataclass(frozen=True)
class Shared:
    """What the fits of one episode under many sections share; each is computed when it is first asked for, and once.

    wide: whether unlabelled items count in the space, too. align(wide) maps into the joint space; evidence(where, wide)
    is what the rows say there, spectra(where, wide, covariance) how they differ; made(wide, generator, count) are
    made-up pairs."""

    episode: TrainEpisode
    seed: int
    align: Callable[[bool], dict[Modality, Affine]]
    evidence: Callable[[Space, bool], Evidence]
    spectra: Callable[[Space, bool, Scatter], Spectra]
    made: Callable[[bool, GeneratorSection, int], Made]


def prepare(episode: TrainEpisode, seed: int) -> Callable[[ScmSection], PosteriorHead]:
    """`fit` of one episode under many sections: what they share is computed once. One thread, so that the numbers do
    not depend on how many cores there are."""
    otherwise = "set train.scm.generated to 0"
    align = cache(lambda wide: space(episode if wide else inductive(episode)))
    evidence = cache(lambda where, wide: gather(episode, align(wide), where, wide))
    spectra = cache(lambda where, wide, covariance: spectra_of(evidence(where, wide), covariance))
    made = cache(lambda wide, how, count: make_pairs(episode, align(wide), how, count, seed, otherwise))
    return partial(_head, Shared(episode, seed, align, evidence, spectra, made))


def _head(shared: Shared, section: ScmSection) -> PosteriorHead:
    """The head under one section."""
    episode, wide = shared.episode, _is_wide(section)
    if section.attention:
        tokens_of(episode.items)  # refuses what cannot be attended to
    with one_blas_thread():
        votes = _votes(shared, section)
    if not section.all_classes:
        votes = tuple(vote.first(len(episode.target)) for vote in votes)
    about = _about(episode, section, votes)
    if not section.generated:
        return PosteriorHead(about, shared.align(wide), votes)
    curve = shared.made(wide, section.generator, section.generated).curve
    return PosteriorHead({**about, "seed": shared.seed}, shared.align(wide), votes, curve)


def _is_wide(section: ScmSection) -> bool:
    return section.unlabelled_space and section.rounds > 0


def _votes(shared: Shared, section: ScmSection) -> tuple[Vote, ...]:
    """The votes of all spaces that have one, taught by unlabelled items where these count."""
    votes = tuple(_judge(shared, where, section) for where in _spaces(section))
    if not _learns(shared.episode, section):
        return votes
    return taught(votes, [_seen(shared, vote.space, section) for vote in votes], shared.episode, section)


def _judge(shared: Shared, where: Space, section: ScmSection) -> Vote:
    """The vote of one space before unlabelled items teach it; UserError where a name that is to judge has no vector."""
    episode, wide = shared.episode, _is_wide(section)
    supports, own = bool(episode.support.any()), shared.evidence(where, wide)
    if section.names:
        require_names((*episode.target, *episode.source), own.names, "set train.scm.names to false")
    shots = supports or _learns(episode, section)
    found = vote(_seen(shared, where, section), shared.spectra(where, wide, section.covariance), section, shots)
    if where == "joint" or not (section.vote_neighbours > 0 and supports):
        return found
    return replace(found, neighbours=neighbours_of(own, found.whiten, section))


def _seen(shared: Shared, where: Space, section: ScmSection) -> Evidence:
    """The evidence in one space, in the joint one with the pairs that are made up."""
    wide = _is_wide(section)
    own = shared.evidence(where, wide)
    if where == "raw" or not section.generated:
        return own
    return replace(own, made=shared.made(wide, section.generator, section.generated).pairs.by_class())


def _learns(episode: TrainEpisode, section: ScmSection) -> bool:
    """Whether unlabelled items count: there are some, and a class is known by something that they can be like."""
    known = section.names or bool(episode.support.any())
    return known and len(episode.unlabelled) > 0 and section.rounds > 0 and section.unlabelled_weight > 0


def taught(
    votes: tuple[Vote, ...], evidence: list[Evidence], episode: TrainEpisode, section: ScmSection
) -> tuple[Vote, ...]:
    """The votes with the prototypes that the unlabelled items moved (see unlabelled.refine)."""
    judges = [
        Judge(
            known=known_of(own, vote.whiten, section),
            places={m: vote.place(own.unlabelled[m], m) for m in MODALITIES},
            weight=dict(vote.weight),
            shared=own.space == "joint",
        )
        for vote, own in zip(votes, evidence, strict=True)
    ]
    how = section.rounds, section.unlabelled_weight, section.unlabelled_tau
    found = refine(judges, len(episode.target), *how, paired=episode.paired)
    return tuple(replace(vote, prototypes=own) for vote, own in zip(votes, found, strict=True))


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
    """The classes that are judged: all, target classes alone, or none where there is neither a support nor a name."""
    if not section.names and not episode.support.any():
        return {"target": [], "source": []}
    return {"target": episode.target, "source": episode.source if section.all_classes else []}


def _spaces(section: ScmSection) -> tuple[Space, ...]:
    return ("joint", "raw") if section.vote_image or section.vote_text or section.vote_neighbours else ("joint",)


def gather(episode: TrainEpisode, align: Mapping[Modality, Affine], where: Space, wide: bool) -> Evidence:
    """The features, names and members of an episode in one space; wide: unlabelled items count in the middle, too."""
    items = episode.items
    classes = [*episode.target, *episode.source]
    named = name_vectors(items, classes, "raw" if where == "raw" and items.aligned else "joint")
    members = members_of(items.labels, classes)
    features, more = (_features(own, align, where) for own in (items, episode.unlabelled))
    told = None if items.captions is None else _captions(items.captions, items.aligned, align, where)
    middle = {m: np.concatenate([x, more[m][: len(more[m]) * wide]]).mean(axis=0) for m, x in features.items()}
    read = told, episode.support, items.tokens, align
    if where == "raw":
        return Evidence(where, features, unit(named), members, middle, more, *read)
    held = np.linalg.norm(named, axis=1, keepdims=True) > 0
    placed = to_sphere(named, items.aligned, align.get("text")) * held
    return Evidence(where, features, placed, members, middle, more, *read)


def _features(items: Items, align: Mapping[Modality, Affine], where: Space) -> dict[Modality, Array]:
    """Unit vectors (N, D_m) of one space."""
    if where == "raw":
        return {m: raw_of(items, m) for m in MODALITIES}
    return {m: to_sphere(items.pooled[m], items.aligned, align.get(m)) for m in MODALITIES}


def _captions(captions: Captions, aligned: bool, align: Mapping[Modality, Affine], where: Space) -> Captions:
    """The same captions as unit vectors (T, D_text) of one space."""
    if where == "joint":
        return replace(captions, pooled=to_sphere(captions.pooled, aligned, align.get("text")), pooled_raw=None)
    own = captions.pooled if captions.pooled_raw is None or not aligned else captions.pooled_raw
    return replace(captions, pooled=unit(own), pooled_raw=None)


def spectra_of(evidence: Evidence, covariance: Scatter) -> Spectra:
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
    whiten = {m: spectra[m].whiten(evidence.middle[m], shrinkage) for m in MODALITIES}
    prototypes = {m: unit(total) for m, total in known_of(evidence, whiten, section).items()}
    shares: dict[Modality, float] = {"image": section.vote_image if shots else 0.0, "text": section.vote_text}
    if not joint:
        return Vote(evidence.space, whiten, prototypes, shares)
    attention = attention_of(section) if section.attention else None
    return Vote(evidence.space, whiten, prototypes, {m: 1 - shares[m] for m in MODALITIES}, attention=attention)


def attention_of(section: ScmSection) -> Attention:
    """How the vote in the joint space attends to tokens. (ours) Self-training does not: who an unlabelled item is of is
    judged by its pooled vectors alone."""
    tau: dict[Modality, float] = {"image": section.attention_image, "text": section.attention_text}
    return Attention(tau, float(section.attention_share))


def known_of(evidence: Evidence, whiten: Mapping[Modality, Affine], section: ScmSection) -> dict[Modality, Array]:
    """What is known of each class, (C, d_m): the prototypes before they have length 1."""
    places = {m: unit(whiten[m](evidence.features[m])) for m in MODALITIES}
    if section.captions == "all":
        told = _told(evidence)
        places["text"] = told.mean(unit(whiten["text"](told.pooled)))
    examples = {m: evidence.members.T.astype(np.float32) @ places[m] for m in MODALITIES}
    for m in _attending(evidence, section):
        examples[m] = cleaned(evidence, whiten, section.attention_support, m, places[m])
    for m, made in evidence.made.items():
        examples[m][: len(made)] += float(section.generated_weight) * unit(whiten[m](made)).mean(axis=1)
    named = section.name_weight * _named(evidence, whiten["text"]) if section.names else np.float32(0)
    if evidence.space == "joint":
        return dict.fromkeys(MODALITIES, named + examples["image"] + examples["text"])
    return {"image": examples["image"], "text": named + examples["text"]}


def _attending(evidence: Evidence, section: ScmSection) -> tuple[Modality, ...]:
    """The modalities whose supports attend to the name of their class: there must be a name. A text that is the mean of
    several captions stays as it is (ours)."""
    if not (section.attention and section.names and evidence.space == "joint" and evidence.support.any()):
        return ()
    return ("image",) if section.captions == "all" else MODALITIES


def cleaned(
    evidence: Evidence, whiten: Mapping[Modality, Affine], tau: float, modality: Modality, places: Array
) -> Array:
    """The sums (C, d) of the examples of each class, of rows at some places (N, d), a support counting as what of its
    tokens speaks of the name of the class: z(x_ic), once for each of its classes."""
    assert evidence.tokens is not None  # else refused before
    support, members = evidence.support, evidence.members.astype(np.float32)
    source, own = evidence.tokens[modality].take(np.flatnonzero(support)), members[support]
    total = np.asarray(members[~support].T @ places[~support])
    how = whiten[modality], _named(evidence, whiten["text"]), tau
    for rows, found in attended(source, evidence.align.get(modality), *how):
        total += np.einsum("bc,bcd->cd", own[rows], found)
    return total


def _told(evidence: Evidence) -> Captions:
    if evidence.captions is None:
        raise MissingError("train.scm.captions is all, and the items lack their captions; load them with apart=True")
    return evidence.captions


def neighbours_of(
    evidence: Evidence, whiten: Mapping[Modality, Affine], section: ScmSection
) -> dict[Modality, Neighbours]:
    """The examples of each class as whitened unit vectors, every caption one of them where captions are `all`. (ours)
    Self-training does not ask them: who an unlabelled item is of is judged by the prototypes alone."""
    rows: dict[Modality, tuple[Array, NDArray[np.bool_]]]
    rows = {m: (evidence.features[m], evidence.members) for m in MODALITIES}
    if section.captions == "all":
        told = _told(evidence)
        rows["text"] = told.pooled, np.repeat(evidence.members, told.counts, axis=0)
    how = float(section.vote_neighbours), float(section.neighbours_tau)
    return {
        m: Neighbours(unit(whiten[m](x))[np.nonzero(members.T)[1]], members.sum(axis=0, dtype=np.int64), *how)
        for m, (x, members) in rows.items()
    }


def _named(evidence: Evidence, whiten: Affine) -> Array:
    """The class names (C, d) as whitened unit vectors, about their own mean."""
    return unit(Affine(evidence.names.mean(axis=0), whiten.map)(evidence.names))
