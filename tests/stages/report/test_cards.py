"""The cards of classes and of queries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cache.manifest import read_manifest
from stages.report import cards
from stages.report.album import open_album
from stages.report.asked import Answer, ClassFigure, Example, Hit
from tests.stages.report import build

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]
FIGURES = [
    ClassFigure(m, name, 0.9 - 0.1 * i + bonus, 4)
    for i, name in enumerate(NAMES)
    for m, bonus in (("a", 0), ("b", 0.05))
]
HITS = [Hit("ant-4", True, False), Hit("ant-5", True, True), *(Hit(f"cat-{i}", False, False) for i in range(8))]


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    here = tmp_path_factory.mktemp("album")
    build.write_pictures(here)
    return open_album(read_manifest(here / "pairs.parquet"), here)


def test_the_outermost_classes_have_cards_and_none_has_two(album):
    best, worst = cards.class_cards(FIGURES, ["b"], {}, album)
    assert [[card.name for card in own] for own in (best, worst)] == [["ant", "bee", "cat"], ["eel", "fox", "gnu"]]
    best, worst = cards.class_cards(FIGURES[:6], ["b"], {}, album)
    assert [[card.name for card in own] for own in (best, worst)] == [["ant"], ["cat"]]
    assert cards.class_cards(FIGURES[:2], ["b"], {}, album) == ([], [])


def test_a_class_shows_its_figures_and_its_first_pictures(album):
    (card, *_), _ = cards.class_cards(FIGURES, ["b", "a", "absent"], {"ant": [f"ant-{i}" for i in range(8)]}, album)
    assert card.figures == [("b", "95.0"), ("a", "90.0")]
    assert [one.alt for one in card.thumbnails] == [f"ant: a drawing of ant-{i} <b>" for i in range(cards.OF_CLASS)]
    assert all(one.picture.startswith("data:image/jpeg") for one in card.thumbnails)


def test_the_best_method_and_the_base_are_told_of_a_class():
    assert cards.shown_methods(build.metrics()) == ["gcrdp", "cca"]


def test_a_hit_says_in_words_what_its_frame_says(album):
    (card,) = cards.query_cards([Example("ant-5", "ant", [Answer("gap", 0.5, HITS)])], album)
    assert (card.text, card.name, card.answers[0].ap) == ("a drawing of ant-5 <b>", "ant", "50.0")
    shown = card.answers[0].thumbnails
    assert [one.relevant for one in shown] == [True, True, False, False, False, False]
    assert [one.alt.split(":")[0] for one in shown][:3] == [
        "rank 1, hit",
        "rank 2, the query's own picture",
        "rank 3, miss",
    ]


def test_with_many_methods_fewer_hits_are_shown(album):
    answers = [Answer(f"m{i}", 0.5, HITS) for i in range(cards.MANY + 1)]
    (card,) = cards.query_cards([Example("ant-5", "ant", answers)], album)
    assert {len(answer.thumbnails) for answer in card.answers} == {cards.FEWER}


def test_a_class_whose_pictures_are_gone_shows_its_figures_alone(album):
    gone = replace(album, root=album.root / "gone")
    (card, *_), _ = cards.class_cards(FIGURES, ["b"], {"ant": ["ant-4"]}, gone)
    assert (card.figures, card.thumbnails) == ([("b", "95.0")], [])
    (card,) = cards.query_cards([Example("ant-5", "ant", [Answer("gap", 0.5, HITS)])], gone)
    assert [(one.picture, one.short) for one in card.answers[0].thumbnails[:3]] == [
        ("", "ant"),
        ("", "ant"),
        ("", "cat"),
    ]
