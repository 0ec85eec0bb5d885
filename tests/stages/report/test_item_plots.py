"""The numbers beneath the plots of single items, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cache.episodes import read_episodes
from cache.manifest import read_manifest
from cache.store import read_ledger
from stages.items import load_items, unit
from stages.report import draw, item_draw, item_plots
from stages.report.album import open_album
from stages.report.components import mixed_pictures
from stages.report.first_draw import first_episode, look
from tests.stages.report import build


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("items")
    made = build.write_inputs(folder)
    items = load_items(made.store, made.manifest, made.features, made.mixtures, "first")
    found = look(made.store, items, first_episode(read_episodes(made.episodes)), read_ledger(made.heads))
    return found, mixed_pictures(found, open_album(read_manifest(made.manifest), folder))


def test_the_map_of_every_patch_is_written(here):
    plot = item_plots.components_plot(here[1], "em")
    assert len(plot.rows) == sum(one.owners.size for one in here[1])
    sums: dict[tuple[object, ...], float] = {}
    for row in plot.rows:
        sums[row[0], row[2], row[3]] = sums.get((row[0], row[2], row[3]), 0) + row[5]
    assert len(sums) == 9 * len(here[1])
    assert all(total == pytest.approx(1, abs=2e-3) for total in sums.values())
    assert "at random" not in plot.caption
    assert "at random" in item_plots.components_plot(here[1], "random").caption


def test_both_matrices_are_those_of_the_space_before_and_of_the_head_after(here):
    found, _ = here
    plot = item_plots.distances_plot(found)
    told = {row[:4]: row[4] for row in plot.rows}
    head = found.heads["gcrdp"]
    for stage in ("before", "after gcrdp"):
        for modality in ("image", "text"):
            x = unit(found.items.pooled[modality])
            z = x if stage == "before" else unit(x + x @ head.residual[modality].weight + head.residual[modality].bias)
            for i, one in enumerate(found.items.ids):
                for j, other in enumerate(found.items.ids):
                    assert told[stage, modality, one, other] == pytest.approx(float(z[i] @ z[j]), abs=2e-5)
    assert len(told) == 4 * len(found.items) ** 2


def test_without_a_head_that_preserves_distances_nothing_is_drawn(here):
    found = replace(here[0], heads={"gap": here[0].heads["gap"]})
    plot = item_plots.distances_plot(found)
    assert plot.rows == []


def test_a_head_that_adds_nothing_to_the_space_before_has_no_panel(here):
    found, _ = here
    assert list(item_plots.shown_spaces(found)) == ["before", "gap", "gcrdp"]
    many = replace(found, heads={f"m{i}": found.heads["gap"] for i in range(9)})
    assert len(item_plots.shown_spaces(many)) == item_plots.PANELS


def test_the_gap_of_each_space_stands_in_its_title(here):
    found, _ = here
    plot = item_plots.modalities_plot(found)
    x, y = (unit(found.items.pooled[m]).mean(axis=0) for m in ("image", "text"))
    titles = list(dict.fromkeys(row[0] for row in plot.rows))
    assert titles[0] == f"before: gap {np.linalg.norm(x - y):.2f}"
    assert len(plot.rows) == len(titles) * 2 * len(found.items)
    assert all(title in plot.alt for title in titles)


def test_every_colour_of_the_maps_comes_from_the_palette_of_the_colour_blind():
    grey = np.ones((6, 6), np.float32)
    shown = item_draw.tinted(grey, np.arange(9).reshape(3, 3) % 3)
    assert shown.shape == (6, 6, 3)
    found = {
        tuple(np.round((shown[2 * r, 2 * c] - (1 - item_draw.TINT)) / item_draw.TINT * 255).astype(int))
        for r in range(3)
        for c in range(3)
    }
    assert found == {tuple(int(ink[i : i + 2], 16) for i in (1, 3, 5)) for ink in draw.SERIES[:3]}


def test_a_grid_too_fine_for_numbers_is_drawn_without(here):
    fine = replace(here[1][0], owners=np.full((12, 12, 2), 0.5, np.float32))
    with draw.style():
        figure = item_draw.components([fine, here[1][1]])
    assert [len(axes.texts) for axes in figure.axes] == [0, 0, 0, 9]


def test_a_patch_covers_its_own_part_of_a_picture_that_is_no_square():
    shown = item_draw.tinted(np.ones((4, 12), np.float32), np.array([[0, 1, 2], [1, 2, 0]]))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 3
    for row in range(4):
        for column in range(12):
            np.testing.assert_array_equal(shown[row, column], shown[row // 2 * 2, column // 4 * 4])
    assert not np.array_equal(shown[0, 3], shown[0, 4])
    np.testing.assert_array_equal(shown[0, 0], shown[3, 11])
