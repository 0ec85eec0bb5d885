"""What the page shows with pictures: best and worst classes, and what each method found for the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.report import content, words
from stages.report.album import Album
from stages.report.asked import Answer, ClassFigure, Example, Hit, class_names

CLASSES, OF_CLASS = 3, 5  # the best classes and the worst that are shown, and the pictures of each
SIDE, SMALLER = 112, 80  # pixels of a picture
HITS, FEWER, MANY = 6, 4, 8  # of a query that are shown; fewer, and smaller, where there are many methods


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: the address of its own bytes, empty where there is none, what it is in words, and the one word
    or two that stand in its place where there is none."""

    picture: str
    alt: str
    short: str
    relevant: bool = True


@dataclass(frozen=True)
class ClassCard:
    """A class with its figures, a method and a per cent each, and some of its pictures."""

    name: str
    figures: list[tuple[str, str]]
    thumbnails: list[Thumbnail]


@dataclass(frozen=True)
class AnswerCard:
    """A method's answer to a query: its average precision in per cent, and the first hits."""

    method: str
    ap: str
    thumbnails: list[Thumbnail]


@dataclass(frozen=True)
class QueryCard:
    """A query, the class that it stands for, and every method's answer."""

    text: str
    name: str
    answers: list[AnswerCard]


def class_cards(
    figures: Sequence[ClassFigure], methods: Sequence[str], items: Mapping[str, Sequence[str]], album: Album
) -> tuple[list[ClassCard], list[ClassCard]]:
    """The best classes and the worst, the worst last; never one twice. methods: whose figures stand on a card; items:
    by class, the ids whose pictures may."""
    names = class_names(figures)
    count = min(CLASSES, len(names) // 2)
    best, worst = names[:count], names[len(names) - count :]
    both = [[_class_card(name, figures, methods, items.get(name, []), album) for name in own] for own in (best, worst)]
    return both[0], both[1]


def _class_card(
    name: str, figures: Sequence[ClassFigure], methods: Sequence[str], items: Sequence[str], album: Album
) -> ClassCard:
    own = {figure.method: figure.ap for figure in figures if figure.name == name}
    told = [(method, words.percent(own[method])) for method in methods if method in own]
    alts = {item: f"{name}: {album.text(item) or item}" for item in items[:OF_CLASS]}
    shown = [Thumbnail(album.thumbnail(item, SIDE), alt, name) for item, alt in alts.items()]
    return ClassCard(name, told, [one for one in shown if one.picture])


def shown_methods(metrics: content.Metrics) -> list[str]:
    """The best method and the first one, which is the base of the others."""
    return list(dict.fromkeys([content.best_method(metrics)["label"], content.labels(metrics)[0]]))


def query_cards(examples: Sequence[Example], album: Album) -> list[QueryCard]:
    """The queries with every method's first hits, each picture read once."""
    few = all(len(example.answers) <= MANY for example in examples)
    most, side = (HITS, SIDE) if few else (FEWER, SMALLER)
    seen = {hit.id for example in examples for answer in example.answers for hit in answer.hits[:most]}
    pictures = {name: album.thumbnail(name, side) for name in sorted(seen)}
    return [
        QueryCard(
            album.text(example.query) or example.query,
            example.name,
            [_answer_card(answer, most, album, pictures) for answer in example.answers],
        )
        for example in examples
    ]


def _answer_card(answer: Answer, most: int, album: Album, pictures: Mapping[str, str]) -> AnswerCard:
    shown = [
        Thumbnail(pictures[hit.id], _hit_in_words(rank, hit, album), words.listed(album.labels(hit.id)), hit.relevant)
        for rank, hit in enumerate(answer.hits[:most], 1)
    ]
    return AnswerCard(answer.method, words.percent(answer.ap), shown)


def _hit_in_words(rank: int, hit: Hit, album: Album) -> str:
    verdict = "the query's own picture" if hit.own else "hit" if hit.relevant else "miss"
    return f"rank {rank}, {verdict}: {words.listed(album.labels(hit.id))}; {album.text(hit.id) or hit.id}"
