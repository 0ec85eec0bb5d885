"""Labels that do not overlap, SVGs that fit the page."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from stages.report import draw

ROWS = [
    ("chance", 0, 0.1, 0.1, 0.1),
    ("chance", 5, 0.1, 0.1, 0.1),
    ("gap", 0, 0.2, 0.2, 0.2),
    ("gap", 5, 0.4, 0.3, 0.5),
]


@pytest.fixture(scope="module")
def svg():
    with draw.style():
        return draw.to_svg(draw.shots_curve(ROWS))


@given(st.lists(st.floats(0, 10), max_size=8))
def test_labels_never_overlap_and_keep_their_order(places):
    found = draw.spread(places, 0.5, 0, 10)
    order = sorted(range(len(places)), key=lambda i: places[i])
    stacked = [found[i] for i in order]
    assert all(upper - lower >= 0.5 - 1e-9 for lower, upper in pairwise(stacked))
    assert all(-1e-9 <= place <= 10 + 1e-9 for place in found)


def test_labels_with_room_stay_where_they_belong():
    assert draw.spread([9.0, 1.0, 5.0], 0.5, 0, 10) == [9.0, 1.0, 5.0]


def test_a_cluster_of_labels_surrounds_its_mean():
    assert draw.spread([5.0, 5.0, 1.0], 1.0, 0, 10) == [4.5, 5.5, 1.0]


def test_every_method_has_its_own_colour_and_chance_is_grey():
    found = draw.colours(["chance", "a", "b", "c"])
    assert found["chance"] == draw.MUTED
    assert len(set(found.values())) == 4


def test_the_same_figure_gives_the_same_svg(svg):
    with draw.style():
        assert draw.to_svg(draw.shots_curve(ROWS)) == svg


def test_an_inline_svg_scales_and_takes_its_colours_from_the_page(svg):
    inline = draw.inline(svg, "shots")
    head = inline[: inline.index(">")]
    assert 'viewBox="' in head
    assert "width=" not in head
    assert "height=" not in head
    assert not re.search(r"#[0-9a-f]{6}", inline.replace("#000000", ""))
    assert "var(--c1)" in inline


def test_ids_of_two_inline_svgs_never_meet(svg):
    ids = [set(re.findall(r'\bid="([^"]+)"', draw.inline(svg, name))) for name in ("one", "two")]
    assert not ids[0] & ids[1]
    inline = draw.inline(svg, "one")
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', inline))
    assert used
    assert used <= ids[0]


def test_a_photograph_in_an_svg_is_a_jpeg_and_a_map_of_numbers_stays_exact():
    kinds, rng = [], np.random.default_rng(0)
    for shown in (rng.random((200, 200, 3)), rng.random((48, 48))):
        with draw.style():
            figure = Figure(figsize=(2, 2))
            figure.add_axes((0, 0, 1, 1)).imshow(shown, interpolation="none")
            kinds += re.findall(r"data:image/(\w+);base64", draw.to_svg(figure))
    assert kinds == ["jpeg", "png"]


def test_names_at_the_ends_of_lines_are_in_ink_whatever_the_line():
    with draw.style():
        axes = draw.shots_curve(ROWS).axes[0]
    assert {text.get_color() for text in axes.texts} == {draw.INK}
    leaders = {text.get_text(): text.arrow_patch.get_edgecolor() for text in axes.texts}
    assert leaders["gap"] == to_rgba(draw.SERIES[0])
