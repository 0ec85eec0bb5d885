"""Search: a text or a picture, encoded by the encoder of the cache and seen by a trained head, against all items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from cache.errors import MissingError, UsageError, UserError
from cache.features import FeatureCache, Part
from pipeline.trained import Trained, gallery_of, reads_tokens, reads_views
from pipeline.wiring import STAGES
from stages.extract.alone import encode_pictures, encode_texts
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.encoders.registry import IMPORTED
from stages.extract.plan import name_rows
from stages.extract.run import choose
from stages.heads.head import Head, Vectors
from stages.heads.posterior import PosteriorHead
from stages.items import MODALITIES, Array, Items, Modality, Rows, open_features, unit
from stages.mixture.fit import fit_items
from stages.progress import reporter
from stages.search.index import best
from stages.search.params import Searched
from stages.search.question import as_items, named, with_views
from stages.search.teach import Lesson, classes_of, posterior, require_teachable, taught
from stages.section import Gallery

OTHER: dict[Modality, Modality] = {"image": "text", "text": "image"}


@dataclass(frozen=True)
class Hit:
    """One of the best: `place` is its row of the manifest, label and text are what the manifest says."""

    rank: int
    score: float
    id: str
    label: str
    text: str
    place: int

    def row(self) -> dict[str, Any]:
        """What is printed of it."""
        return {"rank": self.rank, "score": self.score, "id": self.id, "label": self.label, "text": self.text}


@dataclass(frozen=True)
class Answer:
    """The best of the gallery, best first, and how likely the query is of each class, the likeliest first: none where
    the head judges no classes."""

    query: str
    hits: list[Hit]
    classes: list[tuple[str, float]]


@dataclass(frozen=True)
class Searcher:
    """What is ready to be asked: a trained head, the encoder that made the features, and the rows of the gallery.

    gallery: which classes a head with posteriors judges. content: what decides the numbers of the cache of pictures."""

    trained: Trained
    head: Head
    encoder: Encoder
    gallery: Gallery
    rows: Rows
    content: dict[str, Any]
    _offered: dict[Modality, Vectors] = field(default_factory=dict, compare=False)

    def of_texts(self, texts: Sequence[str]) -> Items:
        """Texts as items; UsageError for one that is empty or no text, a warning for one that is cut."""
        if any(not text.strip() for text in texts):
            raise UsageError("the text is empty; say what to look for, or pass --image FILE")
        if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
            raise UsageError("the text is not valid UTF-8; type it again")
        part = encode_texts(self.encoder, texts, *self._kept)
        if part.truncated.any():
            reporter().warn(f"longer than {self.encoder.context} tokens: the end of the text is not read")
        return self._as_items("text", part)

    def of_pictures(self, pictures: Sequence[Image.Image]) -> Items:
        """Pictures, RGB and upright, as items."""
        return self._as_items("image", encode_pictures(self.encoder, pictures, *self._kept))

    def of_item(self, name: str) -> Items:
        """An item of the dataset, to ask for what is like it; MissingError where there is none of that id."""
        if name not in self._row_of:
            raise MissingError(f"no item with the id '{name}'; take one that a search found")
        return self.trained.items.take([self._row_of[name]])

    def place_of(self, name: str) -> int:
        """Which row of the manifest an item is; MissingError where there is none of that id."""
        if name not in self._places:
            raise MissingError(f"no item with the id '{name}'; take one that a search found")
        return self._places[name]

    def ask(self, query: str, items: Items, modality: Modality, top: int) -> Answer:
        """What of the other modality fits the first of some items best; `query` is what to call it."""
        one = items.take([0])
        asked, offered = self.head.vectors(one, modality, self.gallery), self._vectors(OTHER[modality])
        rows, scores = best(asked.values[0], offered.values, asked.match, top)
        if len(rows) < min(top, len(self.rows)) or not np.isfinite(scores).all():
            raise UserError(f"{self.trained.source}: scores are not finite; run 'verify', then 'train' again")
        found = zip(self.rows[rows].tolist(), scores.tolist(), strict=True)
        hits = [self._hit(rank, row, value) for rank, (row, value) in enumerate(found, 1)]
        return Answer(query, hits, self._classes(one, modality))

    def teach(self, name: str, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Searcher:
        """The same with one more class, learnt from examples; errors as of stages.search.teach."""
        head = require_teachable(self.head)
        if not name.strip():
            raise UsageError("the new class has no name; pass one, as in --add-class surfing")
        nothing = self.trained.items.take([])
        shown: dict[Modality, Items] = {
            "image": self.of_pictures(pictures) if pictures else nothing,
            "text": self.of_texts(texts) if texts else nothing,
        }
        return replace(self, head=taught(head, Lesson(name, shown, self._names(head, name))), _offered={})

    @cached_property
    def _kept(self) -> tuple[Any, Any]:
        """Which tokens a query is encoded with, and how they are stored."""
        return self.content["tokens"] if reads_tokens(self.head) else "none", self.content["storage"]

    def _as_items(self, modality: Modality, part: Part) -> Items:
        items = as_items(self.trained.items, modality, FeatureCache.of_part(modality, part, self.content))
        if not reads_views(self.head):
            return items
        views = self.trained.items.views
        assert items.tokens is not None
        assert views is not None
        section, components = self.trained.setting.params.mixture, views[modality].shape[1]
        return with_views(items, modality, fit_items(items.tokens[modality], items.ids, section, components))

    def _names(self, head: PosteriorHead, name: str) -> Items | None:
        """The names of the classes that a head knows and, last, of a new one; None where one of them has no vector."""
        items = self.trained.items
        told = [items.names.get(space, {}) for space in ("joint", "raw")]
        known = classes_of(head, "all")
        if not all(one in told[0] for one in known):
            return None
        rows = name_rows([name], self.trained.setting.params.extract.templates)
        part = encode_texts(self.encoder, [row.content for row in rows], "none", self.content["storage"])
        own = unit(part.pooled) if items.aligned else part.pooled
        vectors = np.stack([*(told[0][one] for one in known), own.mean(axis=0)])
        raw = None if part.pooled_raw is None or not told[1] else _stacked(told[1], known, part.pooled_raw)
        return named(items, vectors, raw)

    def _vectors(self, modality: Modality) -> Vectors:
        """What the gallery looks like to the head, computed once."""
        if modality not in self._offered:
            items = self.trained.items
            chosen = items if len(self.rows) == len(items) else items.take(self.rows)
            self._offered[modality] = self.head.vectors(chosen, modality, self.gallery)
        return self._offered[modality]

    def _hit(self, rank: int, row: int, score: float) -> Hit:
        manifest, name = self.trained.manifest, self.trained.items.ids[row]
        place = self._places[name]
        return Hit(rank, score, name, ", ".join(manifest.labels[place]), manifest.texts[place][0], place)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.trained.items.ids)}

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.trained.manifest.ids)}

    def _classes(self, one: Items, modality: Modality) -> list[tuple[str, float]]:
        if not isinstance(self.head, PosteriorHead) or not classes_of(self.head, self.gallery):
            return []
        likely = posterior(self.head, one, modality, self.gallery)[0]
        judged = zip(classes_of(self.head, self.gallery), likely.tolist(), strict=True)
        return sorted(judged, key=lambda pair: -pair[1])


def _stacked(known: dict[str, Array], classes: Sequence[str], own: Array) -> Array:
    return np.stack([*(known[name] for name in classes), own.mean(axis=0)])


def open_searcher(trained: Trained, searched: Searched) -> Searcher:
    """Load the encoder and choose the gallery; UserError where the encoder at hand is not the one of the features."""
    setting, items = trained.setting, trained.items
    if setting.params.encoder == IMPORTED:
        raise UsageError("these features were imported: no encoder is at hand that a query could be compared by")
    tested = trained.episode().ids["test"] if searched == "test" else items.ids
    encoder = load_encoder(choose(STAGES["extract"].params(setting, "")))
    for modality in MODALITIES:
        _require_the_same(trained, encoder, modality)
    rows = np.sort(items.rows_of(tested))
    content = open_features(setting.places.store, trained.features, "image").about["content"]
    return Searcher(trained, trained.head, encoder, gallery_of(searched), rows, content)


def _require_the_same(trained: Trained, encoder: Encoder, modality: Modality) -> None:
    cache = open_features(trained.setting.places.store, trained.features, modality)
    content = cache.about["content"]
    if (content["encoder"], content["weights"]) != (encoder.name, encoder.digest):
        raise UserError(
            f"features/{cache.path.name}: made by other weights than those of {encoder.name} here; run 'extract' again"
        )
