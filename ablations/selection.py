"""`python -m ablations.selection`: what the source classes alone say of the values in params.yaml.

Half of the source classes of a dataset (parity) play target, several times over; no item of a target class is looked
at. Measuring needs the research-only photos; `--render` only writes the page from docs/results/selection.json.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.episodes import Episode, read_episodes
from cache.files import read_json, write_bytes, write_json
from cache.manifest import read_manifest
from pipeline.commands.options import gather
from pipeline.console import ConsoleReporter
from pipeline.wiring import STAGES, locate, make, require
from stages.items import Items, load_items
from stages.progress import report_to, reporter, working
from stages.section import Section, with_values
from stages.stats import support_interval
from stages.train.episode import train_episode
from stages.train.methods import find
from stages.train.params import CcaSection, TrainSection
from stages.train.selection import mean_ap, source_draws

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "docs" / "results" / "selection.json", ROOT / "docs" / "selection.md"
OVERLAYS = ROOT / "ablations" / "overlays"
WORK = "selection"
SMALL = 0.0025  # of mAP: a difference that decides nothing
DRAWS, SHOTS = 6, [1, 5]  # more shot counts would say little more and take twice the time

Values = dict[str, Any]
Grid = Mapping[str, Sequence[Values]]  # the values tried, around the shipped point; a row of keys is tried together


def _each(name: str, values: Sequence[Any]) -> list[Values]:
    return [{name: value} for value in values]


def _ridges(ridges: Sequence[float], dims: Sequence[int]) -> list[Values]:
    return [{"ridge": ridge, "dims": many} for ridge, many in itertools.product(ridges, dims)]


GRIDS: dict[str, Grid] = {  # by overlay: photographs of aligned towers, and drawings of two towers without a space
    "core20": {
        "gap.lr": _each("lr", (3e-5, 1e-4, 3e-4)),
        "gap.steps": _each("steps", (40, 80, 160)),
        "gcrdp.theta": _each("theta", (0.5, 0.8, 0.95)),
        "gcrdp.lambda": _each("lambda", (0.0, 1.0, 10.0)),
        "gcrdp.alpha": _each("alpha", (1.0, 10.0)),
        "gcrdp.retrieve": _each("retrieve", ("mix", "pooled")),
        "cca.ridge and dims": _ridges((1.0, 3.0, 10.0), (64, 128)),
    },
    "openmoji": {"cca.ridge and dims": _ridges((0.3, 1.0, 3.0, 10.0), (64, 128))},
}


@dataclass(frozen=True)
class Point:
    """A method under some values in place of the shipped ones."""

    method: str
    values: Values
    section: Section


def point(shipped: TrainSection, key: str, values: Values) -> Point:
    """The shipped section of the key's method with these values instead."""
    method = key.partition(".")[0]
    own: Section = getattr(shipped, method)
    return Point(method, values, with_values(own, values))


def reached(at: Point, episode: Episode, items: Items, align: CcaSection) -> float:
    """mAP on the gallery `target`, mean of both directions, of one training."""
    return mean_ap(
        find(at.method).fit()(train_episode(episode, items, align), at.section, episode.seed), episode, items
    )


def measure(overlay: str) -> dict[str, Any]:
    """Score every point of one grid on every draw."""
    setting = gather(overlay=[OVERLAYS / f"{overlay}.yaml"])
    if locate(setting, "extract") is None:
        make(setting, "extract")
    params = STAGES["train"].params(setting, "")
    items = load_items(params.store, params.manifest, params.features, require(setting, "mixture"), params.captions)
    given = read_episodes(params.episodes)[0]
    episodes = list(itertools.chain.from_iterable(zip(*(source_draws(given, DRAWS, k) for k in SHOTS), strict=True)))
    asked = {key: [point(params.section, key, values) for values in tried] for key, tried in GRIDS[overlay].items()}
    distinct = {_name(at): at for own in asked.values() for at in own}
    with working(WORK, len(distinct)):
        found = {name: _by_shots(at, episodes, items, params.section.align) for name, at in distinct.items()}
    keys = [_judge(key, own, found, getattr(params.section, own[0].method)) for key, own in asked.items()]
    return {"dataset": read_manifest(params.manifest).name, "source_classes": _classes(episodes), "keys": keys}


def _classes(episodes: Sequence[Episode]) -> list[str]:
    return sorted({name for e in episodes for name in (*e.source_classes, *e.target_classes)})


def _name(at: Point) -> str:
    return f"{at.method} {at.section.model_dump_json()}"


def _by_shots(at: Point, episodes: Sequence[Episode], items: Items, align: CcaSection) -> list[list[float]]:
    """mAP by draw and shot count."""
    reporter().advance(WORK, 1)
    flat = [reached(at, episode, items, align) for episode in episodes]
    return np.reshape(flat, (DRAWS, len(SHOTS))).round(6).tolist()


def _judge(key: str, tried: list[Point], found: Mapping[str, Any], shipped: Section) -> dict[str, Any]:
    """The figures of every value, which one is best on average, and by how much the shipped one is behind it."""
    scores = [np.array(found[_name(at)]) for at in tried]
    place = next(i for i, at in enumerate(tried) if at.section == shipped)
    best = int(np.argmax([own.mean() for own in scores]))
    behind = (scores[best] - scores[place]).mean(axis=1)
    interval = support_interval(behind) if best != place else None
    rows = [_row(at.values, own) for at, own in zip(tried, scores, strict=True)]
    return {
        "key": key,
        "rows": rows,
        "shipped": tried[place].values,
        "winner": tried[best].values,
        "behind": round(float(behind.mean()), 6),
        "interval": interval and [round(bound, 6) for bound in interval],
    }


def _row(values: Values, scores: NDArray[np.float64]) -> dict[str, Any]:
    return {"values": values, "mAP": scores.mean(axis=0).round(6).tolist()}


INTRO = """# What the source classes say of the values in params.yaml

Made by `python -m ablations.selection`; do not edit. Figures: docs/results/selection.json.

{draws} draws on the source classes alone, parity protocol: half of them play target, supports come from their train
halves, queries from their test halves; no item of a target class is read. mAP in per cent, mean of both directions;
"mean" is over {shots} shots. One key is changed at a time, the others stand as shipped.

**How these values came about.** The shipped values stood before this table, and the repository holds no record of the
trials that chose them; how the ridge of CCA is counted was told apart on target classes, and checked on source classes
afterwards (docs/decisions/0005). This page is the check on source classes alone. Where it says that a shipped value is
not the best, it was left as it stands.

**What it cannot say.** The draws share their classes, so an interval over draws is narrower than other classes would
make it; and the best of several values is best in part by luck. Keys that are not listed were not searched: those of
`mixture` among them, and those of `cmm` and `flexclip`, whose values were tried there without keeping the figures.
`train.align`, which only encoders with two spaces use, has the values of `cca`. Values of `scm` that list several are
chosen anew on every class split, and the store has the figures (docs/decisions/0010); its `cosine` is decision 0011.
The self-trained rows of the tables stand on fixed values, in ablations/overlays: nothing chose them, and no other
values were measured.
"""


def render(found: Mapping[str, Any]) -> str:
    """The page as the figures make it."""
    intro = INTRO.format(draws=found["draws"], shots="/".join(map(str, found["shots"])))
    return "\n".join([intro, *itertools.chain.from_iterable(_part(block, found["shots"]) for block in found["blocks"])])


def _part(block: Mapping[str, Any], shots: Sequence[int]) -> Iterator[str]:
    """All that was found on one dataset: a sentence a key, then its table."""
    yield f"## `{block['dataset']}`, {len(block['source_classes'])} source classes\n"
    yield from (f"- {verdict(entry)}" for entry in block["keys"])
    yield ""
    for entry in block["keys"]:
        yield from _table(entry, shots)


def verdict(entry: Mapping[str, Any]) -> str:
    """One sentence: is the shipped value the best of those tried, and if not, how far behind."""
    shipped, winner = _told(entry["shipped"]), _told(entry["winner"])
    if shipped == winner:
        return f"`{entry['key']}`: the shipped {shipped} is the best of those tried."
    low, high = (100 * bound for bound in entry["interval"])
    size = ", though by less than a quarter of a point" if entry["behind"] < SMALL else ""
    clear = f"beyond the spread of the draws{size}" if low > 0 else "which these draws cannot tell from 0"
    return (
        f"`{entry['key']}`: the shipped {shipped} is **not** the best; {winner} is ahead by {100 * entry['behind']:.2f}"
        f" points [{low:.2f}, {high:.2f}], {clear}."
    )


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _table(entry: Mapping[str, Any], shots: Sequence[int]) -> Iterator[str]:
    yield f"### `train.{entry['key']}`\n"
    yield f"| value | {' | '.join(map(str, shots))} | mean | |"
    yield "| --- |" + " ---: |" * (len(shots) + 1) + " --- |"
    for row in entry["rows"]:
        figures = [*row["mAP"], float(np.mean(row["mAP"]))]
        marks = [mark for mark in ("shipped", "winner") if row["values"] == entry[mark]]
        texts = " | ".join(f"{100 * value:.2f}" for value in figures)
        yield f"| {_told(row['values'])} | {texts} | {', '.join(marks).replace('winner', 'best')} |"
    yield ""


def main() -> None:
    """Measure unless --render, then write the page."""
    report_to(ConsoleReporter())
    if "--render" not in sys.argv:
        blocks = [measure(overlay) for overlay in GRIDS]
        write_json(RESULTS, {"draws": DRAWS, "shots": SHOTS, "blocks": blocks})
    write_bytes(PAGE, render(read_json(RESULTS)).encode())


if __name__ == "__main__":
    main()
