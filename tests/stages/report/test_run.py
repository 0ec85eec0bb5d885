"""The stage as a whole: whole files, one page that needs nothing else."""

from __future__ import annotations

import csv
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from cache.errors import MissingError
from cache.files import digest_file, write_json
from cache.scores import write_queries
from cache.store import Ledger, read_ledger, write_ledger
from stages.report import run as stage
from stages.report.plots import NAMES
from tests.stages.report import build
from tests.stages.train import build as world

VOID = {"meta", "br", "hr", "img", "input", "link", "path", "use", "rect", "circle", "line", "polyline", "polygon"}


class Balanced(HTMLParser):
    """Fails on a closing tag that closes nothing, and remembers what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.pictures: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found[name] or "" for name in ("src", "href", "xlink:href") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        self.pictures += [found.get("aria-label")] if found.get("role") == "img" else []
        self.pictures += [found.get("alt")] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def parsed(page):
    parser = Balanced()
    parser.feed(page)
    return parser


def test_every_plot_has_its_numbers_and_both_pictures(params):
    names = {f"{name}{suffix}" for name in NAMES for suffix in stage.SUFFIXES}
    assert {path.name for path in params.plots.iterdir()} == names


def test_the_page_is_well_formed_and_its_ids_are_unique(parsed):
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))


def test_the_page_needs_nothing_from_outside(page, parsed):
    assert all(link.startswith(("#", "data:image/")) for link in parsed.links)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    assert not re.search(r"url\((?!#)|@import|<script|<link", page)
    assert len(page) < 5_000_000


def test_every_picture_has_an_alternative_text(parsed):
    assert len(parsed.pictures) > len(NAMES)
    assert all(parsed.pictures)


def test_the_page_says_what_ran_and_credits_the_pictures(page):
    assert "OpenMoji, openmoji.org, CC BY-SA 4.0" in page
    assert "lite0-minilm" in page
    assert "train.gcrdp.theta" in page
    assert build.ABOUT["made_from"] in page


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A run of hostile names, without training, without choices, without heads, without pictures."""
    made = build.write_inputs(tmp_path_factory.mktemp("bare"), history=False)
    write_ledger(made.heads, Ledger("heads", "made", {}, ()))
    shutil.rmtree(made.home / "images")
    made.plots.mkdir()
    (made.plots / "loss.svg").write_text("left by an earlier run")
    stage.run(replace(made, about={**build.ABOUT, "dataset": "<script>alert(1)</script>"}))
    return made


@pytest.fixture(scope="module")
def bare_page(bare):
    return bare.page.read_text(encoding="utf-8")


def test_nothing_that_a_user_names_can_break_the_page(bare_page):
    assert "<script>" not in bare_page
    assert "&lt;script&gt;" in bare_page
    assert "OpenMoji, openmoji.org" not in bare_page
    assert "a drawing of ant-4 &lt;b&gt;" in bare_page


def test_the_page_lists_what_was_chosen_and_is_silent_where_nothing_was(page, bare_page):
    assert 'id="chosen"' in page
    assert re.search(r"<code>covariance</code>.*within \(2\) or total \(1\)", page, re.DOTALL)
    assert 'id="chosen"' not in bare_page


def test_the_contents_lead_to_every_section(page, bare_page):
    for one in (page, bare_page):
        assert re.findall(r'<a href="#([a-z]+)">', one) == re.findall(r'<section id="([a-z]+)">', one)


def test_where_the_pictures_are_gone_their_classes_stand_in_their_place(bare_page):
    assert "data:image/jpeg" not in bare_page
    hit = r'<span class="none" role="img" aria-label="rank 1, [^:]+: ant; a drawing of ant-\d &lt;b&gt;">ant</span>'
    assert re.search(hit, bare_page)
    assert "<svg" in bare_page


def test_every_method_answers_the_same_queries_with_hits_and_misses_framed(page):
    queries = page[page.index('id="queries"') : page.index('id="metrics"')]
    assert queries.count('<article class="query">') == 3  # of as many target classes
    for method in build.CURVES:
        assert queries.count(f"<p>{method} <small>") == 3
    hits, misses = (
        re.findall(rf'<li class="thumb {kind}">\s*<img [^>]*alt="rank \d, ([^:]+):', queries)
        for kind in ("hit", "miss")
    )
    assert set(hits) <= {"hit", "the query&#39;s own picture"}
    assert set(misses) == {"miss"}
    assert len(hits) + len(misses) == 3 * 3 * 6


def test_what_ran_names_keys_machine_software_and_times(page, params):
    ran = page[page.index('id="run"') :]
    for key in read_ledger(params.features).keys:
        assert key.key in ran
    assert build.ABOUT["machine"] in ran
    assert "this project&nbsp;0.1.0, python&nbsp;3.11.7" in ran
    assert re.search(r"scores</th><td>20\d\d-\d\d-\d\d \d\d:\d\d UTC", ran)


def test_the_markdown_holds_the_main_table_and_the_differences(params):
    text = params.table.read_text(encoding="utf-8")
    assert "| method |" in text
    assert "gcrdp − gap" in text  # noqa: RUF001
    assert "{{" not in text


def test_numbers_beneath_the_plots_are_csv(params):
    with (params.plots / "shots.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"method", "shots", "mAP", "low", "high"}
    assert all(0 <= float(row["mAP"]) <= 1 for row in rows)


def test_the_same_scores_give_the_same_files(params):
    files = [params.page, params.table, *sorted(params.plots.iterdir())]
    first = [digest_file(path) for path in files]
    stage.run(params)
    assert [digest_file(path) for path in files] == first


def test_without_training_the_page_stands_without_its_curves(bare, bare_page):
    assert 'id="training"' not in bare_page
    assert (bare.plots / "loss.csv").read_text().splitlines() == ["method,shots,step,name,value"]
    assert not (bare.plots / "loss.svg").exists()


def test_one_method_at_one_shot_count_and_seed_is_page_enough(tmp_path: Path):
    made = build.write_inputs(tmp_path)
    metrics = build.metrics()
    kept = [e for e in metrics["means"] if (e["label"], e["shots"]) == ("cca", 5)]
    write_json(made.metrics, {**metrics, "means": kept, "differences": []})
    write_queries(made.queries, [row for row in build.query_rows() if row["method"] == "cca"], "made")
    stage.run(made)
    page = made.page.read_text(encoding="utf-8")
    assert 'id="differences"' not in page
    assert "Paired differences" not in made.table.read_text(encoding="utf-8")


def test_missing_scores_are_named(tmp_path: Path):
    made = build.write_inputs(tmp_path)
    made.scores.unlink()
    with pytest.raises(MissingError, match=r"scores\.parquet: no such file"):
        stage.run(made)
    assert not made.page.exists()


def test_the_templates_lie_in_the_package():
    here = resources.files("stages.report")
    assert all((here / name).is_file() for name in ("page.html.j2", "table.md.j2"))


def test_page_and_table_say_where_the_values_of_trained_heads_come_from(params, page):
    told = build.ABOUT["values_from"]
    assert f"<dd>{told}</dd>" in page
    assert f"Origin of the trained heads' values: {told}." in params.table.read_text(encoding="utf-8")


def test_a_class_that_a_later_class_split_asks_has_its_pictures_too():
    other = replace(world.episode(), half=1, target_classes=world.SOURCE, ids={"test": ["bee-5", "dog-4", "bee-4"]})
    found = stage._tested([world.episode(0), world.episode(5), other])
    assert found["bee"] == ["bee-5", "bee-4"]
    assert found["ant"] == [f"ant-{i}" for i in range(4, 8)]
