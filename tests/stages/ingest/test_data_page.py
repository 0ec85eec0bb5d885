"""docs/data.md: every dataset has its place there, and its counts are those that the loaders find."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from cache.manifest import read_manifest
from pipeline.params import load_params
from stages.ingest.datasets import DATASETS, find
from stages.ingest.datasets.coop_sets import COOP_SETS, as_typed
from stages.ingest.datasets.dataset import Dataset
from stages.ingest.datasets.flickr8k_core20 import shipped
from stages.ingest.datasets.nuswide import A_CONCEPT, IN_10K, PARTS_OF_10K
from stages.ingest.datasets.openmoji import _all_emoji, choose
from stages.ingest.run import run
from tests.conftest import ROOT
from tests.stages.ingest.datasets.test_pascal import published
from tests.stages.ingest.datasets.test_wikipedia import PUBLISHED
from tests.stages.ingest.given import params

OF_ALL = {"classnames.txt", "variants.txt"}  # told of once
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    """What stands under a heading of the page."""
    return next(part for part in PAGE.split("\n## ") if part.partition("\n")[0].startswith(name))


def section_of(dataset: Dataset) -> str:
    """Where the page tells of a dataset."""
    if dataset.name in COOP_SETS:
        return section("coop:imagenet" if "imagenet" in dataset.name else "coop:&lt;")
    return section(dataset.place)


def table(counts: dict[str, list[int]], splits: list[str]) -> str:
    """A row a class: its count in each split, where there are any, and in all, and the sums below."""
    counts = counts | {"all": [sum(column) for column in zip(*counts.values(), strict=True)]}
    head = [f"| {' | '.join(['class', *splits, 'all'])} |", f"| --- |{' ---: |' * (len(splits) + 1)}"]
    rows = {name: [*own, sum(own)] if splits else own for name, own in counts.items()}
    return "\n".join([*head, *(f"| {name} | {' | '.join(f'{n:,}' for n in own)} |" for name, own in rows.items())])


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "features"])
def test_every_dataset_has_a_section_with_all_that_a_user_needs(name: str) -> None:
    dataset = DATASETS[name]
    text = section_of(dataset)
    assert f"Download: {dataset.download or 'none'}" in text
    assert "Terms: " in text
    assert dataset.address is None or f"<{dataset.address}>" in text
    assert dataset.name == "table" or f"`data/raw/{dataset.place}`" in text
    flags = dataset.flags.replace("FILE", "my/pairs.csv")
    for stage in ("ingest", "extract"):
        command = f"    python -m pipeline {stage} --dataset {name}{flags}"
        assert any(line == command or line.startswith(f"{command} -S") for line in text.splitlines()), command
    assert "ounts" in text or "| class |" in text  # a table, or who prints them
    assert re.search(r"\n    \S.*[/.]", text)  # the layout of the folder
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` | "))
    assert row.endswith(f" | {f'{dataset.download} ' * bool(dataset.download)}| {dataset.licence} |")


@pytest.mark.parametrize("dataset", COOP_SETS.values(), ids=lambda dataset: dataset.name)
def test_the_page_has_a_row_for_every_coop_set_and_counts_that_add_up(dataset: Dataset) -> None:
    text = section_of(dataset)
    cells = [f"`{as_typed(dataset.name)}`", dataset.about, f"{dataset.items:,}", f"{dataset.classes:,}"]
    assert f"| {' | '.join([*cells, dataset.licence, dataset.download, f'<{dataset.address}>'])} |" in text
    own = dataset.name.removeprefix("coop-")
    [counts] = [line for line in text.splitlines() if line.startswith(f"| `{own}` |")]
    numbers = [int(cell.replace(",", "")) for cell in re.findall(r"(?<=\| )[\d,]+(?= \|)", counts)]
    assert sum(numbers) == dataset.items
    assert all(f"`{part.split('|')[0]}" in counts for part in dataset.parts[:2] if part not in OF_ALL)


@pytest.mark.parametrize("name", ["coop:oxford_pets", "coop:imagenet", "coop:imagenet_a"])
def test_the_two_commands_of_a_coop_set_stand_in_its_section(name: str) -> None:
    dataset = find(name)
    lines = section_of(dataset).splitlines()
    for stage in ("ingest", "extract"):
        assert any(line.startswith(f"    python -m pipeline {stage} --dataset {name}") for line in lines)
    assert f"`data/raw/{find('coop:imagenet').place}`" in section("coop:imagenet")


def test_the_counts_of_openmoji_are_those_that_are_drawn() -> None:
    most = load_params(ROOT / "params.yaml", [], [], []).ingest.max_per_class
    counts = Counter(emoji.subcategory for emoji in choose(_all_emoji(), most))
    assert table({name: [counts[name]] for name in sorted(counts)}, []) in section("openmoji")


def test_the_counts_of_nuswide_10k_are_those_of_its_rule() -> None:
    names, parts = ", ".join(f"`{name}`" for name in IN_10K), " | ".join(map(str, PARTS_OF_10K.values()))
    assert f"| `nuswide-10k`: each of {names} | {parts} | {A_CONCEPT:,} |" in section("nuswide")


def test_the_counts_of_wikipedia_are_those_of_the_lists() -> None:
    assert table({name: list(counts) for name, counts in PUBLISHED.items()}, ["train", "test"]) in section("wikipedia")


def test_the_counts_of_core20_are_those_of_the_shipped_list() -> None:
    counts = Counter((row["label"], row["split"]) for row in shipped())
    classes = sorted({row["label"] for row in shipped()})
    rows = {name: [counts[name, split] for split in ("train", "val", "test", "")] for name in classes}
    assert table(rows, ["train", "val", "test", "neither"]) in section("flickr8k-core20")


@pytest.mark.shared
def test_the_counts_of_pascal_are_those_of_the_lists(shared: Path, tmp_path: Path) -> None:
    published(shared, tmp_path)
    given = params(tmp_path, "pascal")
    run(given)
    manifest = read_manifest(given.manifest)
    counts = Counter(zip((label for [label] in manifest.labels), manifest.splits, strict=True))
    assert {tuple(counts[name, split] for split in ("train", "val", "test")) for name in manifest.classes} == {
        (40, 5, 5)
    }
    assert f"| each of {', '.join(f'`{name}`' for name in manifest.classes)} | 40 | 5 | 5 | 50 |" in section("pascal")
    numbers = Counter(map(len, manifest.texts))
    assert numbers == {5: 996, 4: 3, 6: 1}
    assert "996 have five captions, three have four and one has six: 4,998" in section("pascal")
