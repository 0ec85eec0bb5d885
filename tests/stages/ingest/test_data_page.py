"""docs/data.md: every dataset has its place there, and its counts are those that the loaders find."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cache.manifest import read_manifest
from stages.ingest.datasets import DATASETS
from stages.ingest.datasets.coop_sets import COOP_SETS
from stages.ingest.datasets.dataset import Dataset
from stages.ingest.datasets.flickr8k_core20 import shipped
from stages.ingest.run import run
from tests.conftest import ROOT
from tests.stages.ingest.datasets.test_pascal import published
from tests.stages.ingest.datasets.test_wikipedia import PUBLISHED
from tests.stages.ingest.given import params

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    """What stands under a heading of the page."""
    return next(part for part in PAGE.split("\n## ") if part.partition("\n")[0].startswith(name))


def table(counts: dict[str, list[int]], splits: list[str]) -> str:
    """A row a class: its count in each split and in all, and the sums below."""
    counts = counts | {"all": [sum(column) for column in zip(*counts.values(), strict=True)]}
    head = [f"| class | {' | '.join(splits)} | all |", f"| --- |{' ---: |' * (len(splits) + 1)}"]
    return "\n".join(
        [*head, *(f"| {name} | {' | '.join(f'{n:,}' for n in [*c, sum(c)])} |" for name, c in counts.items())]
    )


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in {"nuswide-10k", "features"}])
def test_every_dataset_has_a_section_with_its_address_and_both_commands(name: str) -> None:
    text = section(name)
    dataset = DATASETS[name]
    assert dataset.address is None or dataset.address in text
    if dataset.address:
        assert f"`data/raw/{dataset.place}`" in text
        assert f"python -m pipeline ingest --dataset {name}" in text
        assert f"python -m pipeline extract --dataset {name}" in text


@pytest.mark.parametrize("dataset", COOP_SETS.values(), ids=lambda dataset: dataset.name)
def test_the_page_has_a_row_for_every_coop_set(dataset: Dataset) -> None:
    cells = [f"`{dataset.name.replace('coop-', 'coop:')}`", dataset.about, f"{dataset.items:,}", f"{dataset.classes:,}"]
    assert f"| {' | '.join([*cells, dataset.licence, f'<{dataset.address}>'])} |" in section("coop")


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
