"""The head of the methods that judge classes: an item's vector is its posterior over them, with its place beside it.

Retrieval by category compares what two items are (Rasiwasia et al. 2010: semantic matching); DESIGN section 6, SCM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import softmax

from cache.errors import MissingError
from stages.heads.attention import Attention, cosines, tokens_of
from stages.heads.head import Affine, Step, Vectors, check_encoder, part_of, to_sphere
from stages.items import MODALITIES, Array, Items, Modality, Rows, Space, unit
from stages.section import Gallery

KIND = "posterior"


@dataclass(frozen=True)
class Neighbours:
    """What the examples nearest to an item say of its class: keys (S, d) float32 unit vectors, those of a class side by
    side; counts (C,) int64, how many a class has; the weight of it in the logits, and its temperature."""

    keys: Array
    counts: Rows
    weight: float
    tau: float

    def logits(self, places: Array) -> Array:
        """weight tau log mean_s exp(u s / tau) over the keys s of a class, (N, C) float32, of places u (N, d) of unit
        length; 0 (ours), as of what is unlike everything, for a class without a key."""
        held = np.flatnonzero(self.counts)
        counts, starts = self.counts[held], (np.cumsum(self.counts) - self.counts)[held]
        near = places @ self.keys.T / np.float32(self.tau)
        top = np.maximum.reduceat(near, starts, axis=1)
        mean = np.add.reduceat(np.exp(near - np.repeat(top, counts, axis=1)), starts, axis=1) / counts
        found = np.zeros((len(places), len(self.counts)), np.float32)
        found[:, held] = self.weight * self.tau * (top + np.log(mean))
        return found

    def first(self, classes: int) -> Neighbours:
        """The same of the first few classes alone."""
        counts = self.counts[:classes]
        return replace(self, keys=self.keys[: counts.sum()], counts=counts)


@dataclass(frozen=True)
class Vote:
    """One judgement of an item's class: u = unit((x - mean) W) against prototypes.

    whiten[m] maps features of `space`; prototypes[m] (C, d_m) float32 are unit vectors, target classes first;
    weight[m] is what the vote counts in the logits of modality m. neighbours[m]: examples that judge beside them.
    attention: how the items' tokens are read for each class, None where pooled vectors alone are judged."""

    space: Space
    whiten: Mapping[Modality, Affine]
    prototypes: Mapping[Modality, Array]
    weight: Mapping[Modality, float]
    neighbours: Mapping[Modality, Neighbours] = field(default_factory=dict)
    attention: Attention | None = None

    def place(self, values: Array, modality: Modality) -> Array:
        """Features (N, D) as whitened unit vectors (N, d_m)."""
        return unit(self.whiten[modality](values))

    def asked(self, modality: Modality) -> bool:
        """Whether it says anything of items of a modality."""
        return bool(self.weight[modality]) or modality in self.neighbours

    def logits(self, places: Array, modality: Modality, attended: Array | None) -> Array:
        """Its share of the logits (N, C) of items at some places (N, d_m); attended (N, C): the cosines that attention
        to their tokens finds, None where it is not at work."""
        pooled = places @ self.prototypes[modality].T
        mixed = pooled if self.attention is None or attended is None else self.attention.mix(pooled, attended)
        found: Array = self.weight[modality] * mixed
        near = self.neighbours.get(modality)
        return found if near is None else found + near.logits(places)

    def first(self, classes: int) -> Vote:
        """The vote on the first few classes alone."""
        prototypes = {m: own[:classes] for m, own in self.prototypes.items()}
        return replace(
            self, prototypes=prototypes, neighbours={m: v.first(classes) for m, v in self.neighbours.items()}
        )


@dataclass(frozen=True)
class PosteriorHead:
    """[sqrt(1-w) P, sqrt(w) z] of an item: P = softmax(sum_v weight_v u_v q_v / tau) over classes, z = u of the first
    vote, so that a dot product is (1-w) <P, P'> + w z.z' (DESIGN section 6, SCM, step 4).

    `about` holds at least method, encoder, aligned, tau, cosine (w) and classes: the names of the `target` and of the
    `source` classes, in the order of the prototypes. Without a target class to judge the vector is z alone."""

    about: dict[str, Any]
    align: Mapping[Modality, Affine]
    votes: tuple[Vote, ...]
    history: tuple[Step, ...] = field(default=(), compare=False)

    def vectors(self, items: Items, modality: Modality, gallery: Gallery) -> Vectors:
        """(N, 1, C + d): C target classes, for the gallery `all` source classes as well; not of unit length, since
        normalising would weigh items by how sure their posterior is."""
        count = self._count(gallery)
        place = self._place(self.votes[0], items, modality)
        if not count:
            return Vectors(place[:, None], "dot")
        share = float(self.about["cosine"])
        posterior = softmax(self._summed(items, modality, place)[:, :count] / self.about["tau"], axis=1)
        values = np.concatenate([np.sqrt(1 - share) * posterior, np.sqrt(share) * place], axis=1)
        return Vectors(values.astype(np.float32)[:, None], "dot")

    def logits(self, items: Items, modality: Modality) -> Array:
        """The summed votes for each class, before tau: (N, C) float32, target classes first, then source classes."""
        return self._summed(items, modality, self._place(self.votes[0], items, modality))

    def tensors(self) -> dict[str, Array]:
        """`align.<modality>.mean` and `.map`, and of every vote `<number>.<modality>.mean`, `.map`, `.prototypes` and,
        where neighbours judge, `.keys` and `.counts`."""
        out = {f"align.{m}.{name}": v for m, part in self.align.items() for name, v in vars(part).items()}
        for number, vote in enumerate(self.votes):
            for m in MODALITIES:
                own = {**vars(vote.whiten[m]), "prototypes": vote.prototypes[m]}
                if near := vote.neighbours.get(m):
                    own |= {"keys": near.keys, "counts": near.counts}
                out |= {f"{number}.{m}.{name}": values for name, values in own.items()}
        return out

    def _summed(self, items: Items, modality: Modality, first: Array) -> Array:
        """The same, given the places that the first vote maps to, which are dear."""
        votes = [(number, vote) for number, vote in enumerate(self.votes) if vote.asked(modality)]
        places = (self._place(vote, items, modality) if number else first for number, vote in votes)
        judged = (
            vote.logits(place, modality, self._attended(vote, items, modality))
            for (_, vote), place in zip(votes, places, strict=True)
        )
        return np.asarray(sum(judged, np.zeros(())), dtype=np.float32)

    def _attended(self, vote: Vote, items: Items, modality: Modality) -> Array | None:
        """The cosines (N, C) that a vote's attention finds, None where it has none."""
        if vote.attention is None:
            return None
        how = vote.whiten[modality], vote.prototypes[modality], vote.attention.tau[modality]
        return cosines(tokens_of(items)[modality], self.align.get(modality), *how)

    def _place(self, vote: Vote, items: Items, modality: Modality) -> Array:
        return vote.place(self._features(items, modality, vote.space), modality)

    def _features(self, items: Items, modality: Modality, space: Space) -> Array:
        check_encoder(self.about, items)
        if space == "raw":
            return raw_of(items, modality)
        return to_sphere(items.pooled[modality], self.about["aligned"], self.align.get(modality))

    def _count(self, gallery: Gallery) -> int:
        classes = self.about["classes"]
        target = len(classes["target"])
        return target + len(classes["source"]) if target and gallery == "all" else target


def raw_of(items: Items, modality: Modality) -> Array:
    """Each tower's own unit vectors (N, D0_m): what stood before the joint space, where the encoder has one."""
    if not items.aligned:
        return unit(items.pooled[modality])
    if items.pooled_raw is None:
        raise MissingError("this head judges in the towers' own spaces and the features hold none; run 'extract' again")
    return unit(items.pooled_raw[modality])


def about_votes(votes: tuple[Vote, ...]) -> list[dict[str, Any]]:
    """What of the votes is no tensor, for a head's `about`."""
    return [
        {"space": vote.space, "weight": dict(vote.weight), **_about_neighbours(vote), **_about_attention(vote)}
        for vote in votes
    ]


def _about_attention(vote: Vote) -> dict[str, Any]:
    own = vote.attention
    return {} if own is None else {"attention": {"tau": dict(own.tau), "share": own.share}}


def _about_neighbours(vote: Vote) -> dict[str, Any]:
    told = {m: {"weight": near.weight, "tau": near.tau} for m, near in vote.neighbours.items()}
    return {"neighbours": told} if told else {}


def read(tensors: Mapping[str, Array], about: dict[str, Any]) -> PosteriorHead:
    """The head that a file's tensors and `about` are of."""
    aligns = {m: part_of(tensors, f"align.{m}.") for m in MODALITIES}
    votes = tuple(_vote(part_of(tensors, f"{number}."), told) for number, told in enumerate(about["votes"]))
    return PosteriorHead(about, {m: Affine(**part) for m, part in aligns.items() if part}, votes)


def _vote(tensors: Mapping[str, Array], told: Mapping[str, Any]) -> Vote:
    parts = {m: part_of(tensors, f"{m}.") for m in MODALITIES}
    whiten = {m: Affine(part["mean"], part["map"]) for m, part in parts.items()}
    near = {m: _neighbours(parts[m], own) for m, own in told.get("neighbours", {}).items()}
    prototypes = {m: part["prototypes"] for m, part in parts.items()}
    attention = Attention(**told["attention"]) if "attention" in told else None
    return Vote(told["space"], whiten, prototypes, told["weight"], near, attention)


def _neighbours(part: Mapping[str, Array], told: Mapping[str, float]) -> Neighbours:
    return Neighbours(part["keys"], np.asarray(part["counts"], np.int64), told["weight"], told["tau"])
