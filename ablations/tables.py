"""`python -m ablations.tables`: measure the shipped blocks, and write the tables of docs/results.md and README.md.

Measuring needs the research-only photos; `--render` only writes the pages from the committed docs/results.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ablations.placebo import metrics_beside, name_of, scores_beside
from ablations.published import OVERLAYS, RUN, section
from cache.files import read_json, write_bytes
from cache.scores import read_scores
from pipeline.commands.options import gather
from pipeline.console import ConsoleReporter
from pipeline.wiring import locate, make, require
from stages.naming import row_label
from stages.progress import report_to, reporter
from stages.report.words import p_value

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
TIE = "not distinguishable"
BEGIN, END = "<!-- results: written by `make tables` -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Block:
    """One run that the tables quote: what it is of, the overlays that make it, the row that others must beat, and what
    is to be said before its figures."""

    title: str
    overlays: tuple[str, ...]
    base: str
    note: str = ""


PHOTOS = "1,539 photographs, `caption_0`, aligned heads: `clip` is the base"
BLOCKS = {
    "openmoji": Block(
        "`openmoji` (1,042 pictures and names, encoder `lite0-minilm`, not aligned: `cca` is the base)",
        ("openmoji", "shipped"),
        "cca",
    ),
    "core20": Block(f"`flickr8k-core20` ({PHOTOS})", ("core20", "shipped"), "clip"),
    "core20-masked": Block(
        "`core20-masked` (the same, with the words of all classes removed from the captions)",
        ("core20-masked", "shipped"),
        "clip",
    ),
}
PER_TOKEN = """Three draws of the supports; docs/decisions/0013 says what a view is then. These tokens are those of a
convolutional tower: no weights of a ViT were to be had, so its tokens could not be tried. Where they are,
`python -m pipeline extract` and `train` do it with `--overlay ablations/overlays/core20.yaml --overlay
ablations/overlays/per-token.yaml -S encoder=ViT-B-32/openai -S extract.heads=null`.
"""
OVER_CLASS = """Three draws of the supports. `over class` fits EM to the items of each class; an item then has no view
and is ranked by its pooled vector (docs/decisions/0012), as in `pooled`, whose mixtures are of tokens and serve the
training alone. Its placebo is `pooled without contrast`: no component of anything is read.
"""
HALVES = "± is over draws, of the mean over class splits.\n"
CHECKS = {
    "openmoji-halves": Block(
        "`openmoji` over 10 random class splits", ("openmoji", "shipped", "halves"), "cca", HALVES
    ),
    "core20-halves": Block(
        f"`flickr8k-core20` over 10 random class splits ({PHOTOS})",
        ("core20", "shipped", "halves", "aligned"),
        "clip",
        HALVES,
    ),
    "core20-masked-halves": Block(
        "`core20-masked` over 10 random class splits", ("core20-masked", "shipped", "halves", "aligned"), "clip", HALVES
    ),
    "core20-per-token": Block(
        "`flickr8k-core20`, `gcrdp` with the head on every token before its view is gathered",
        ("core20", "per-token"),
        "gap",
        PER_TOKEN,
    ),
    "core20-over-class": Block(
        "`flickr8k-core20`, `gcrdp` with the mixture of an item's tokens or of a class's items",
        ("core20", "over-class"),
        "gap",
        OVER_CLASS,
    ),
}
PLACEBOS = {  # of which run, measured as what
    "core20": "core20-placebo",
    "core20-masked": "core20-masked-placebo",
    "core20-per-token": "core20-per-token-placebo",
}
ASIDE = 5  # shots of the table of everything else
ASIDE_FIGURES = {
    ("target", "macro-mAP"): "macro-mAP",
    ("rest", "mAP"): "mAP, `rest`",
    ("all", "mAP"): "mAP, `all`",
    **{("target", f"recall@{k}"): f"recall@{k}" for k in (1, 5, 10)},
}
OURS = "scm (names)"
STEPS = {  # a method that adds to another one must beat that too
    "gcrdp": "gap",
    name_of("gcrdp"): "gap",
    "gcrdp (head per token)": "gcrdp",
}

INTRO = """# Results

Made by `make tables`; do not edit. Figures: docs/results/*.parquet and *.json, by `python -m ablations.tables`.

mAP in per cent, mean of both directions, gallery `target`, parity protocol, 10 draws of the supports unless a block
says otherwise. ± is half the 95 % *support* interval (over draws, one class split; without supports, over what else a
seed decides); a row without ± depends on no draw. The *class* interval (bootstrap over target classes, then queries,
10,000 draws, paired) says what other classes would have given, and "who beats whom" rests on it, Holm-corrected at each
shot count. Trained heads use the values of params.yaml; docs/selection.md has what the source classes say of them.

`gcrdp (random groups)` is the placebo of EM: the same method on groups of the same sizes into which the tokens were
dealt at random. What it has over `gap`, too, is not the mixture's. It is a run of its own: its difference from `gap` is
corrected as one more pair of the table, and that of `gcrdp` from it has no class interval.

What a row of `scm` is beside its default: `nameless` knows no class name; `by class alone` ranks by the posterior
without the cosine; `targets alone` judges no source class, which shows in the gallery `all` only; `all captions` learns
from all five captions of a support, every caption a neighbour that may vote, where the other rows read the first;
`attention` reads an item anew for each class; `generated shots` has FLEX-CLIP's made-up pairs beside its supports. The
self-trained rows see target items without labels: semi-supervised those of the train half, so that their gallery `rest`
is what they learned from, transductive the queries. Their values are fixed in ablations/overlays, chosen by nothing.

96 % of core20's first captions name their own class, which makes retrieval by category easy: read it with the masked
block beside it, never alone. The photo set's labels come from its captions and were checked by nobody: it is a check of
the pipeline, no published benchmark.

What the papers left open (K, theta, the losses, the cost of EM, ...) is asked in docs/ablations.md.
"""


def runs() -> dict[str, tuple[str, ...]]:
    """Every run that the tables are of, with the overlays that make it."""
    own = {**{name: block.overlays for name, block in {**BLOCKS, **CHECKS}.items()}, RUN: OVERLAYS}
    placebos = {placebo: (own[name][0], "placebo", *own[name][1:]) for name, placebo in PLACEBOS.items()}
    return {**own, **placebos}  # the run's own overlays count for more: what it compares, so does its placebo


def measure(name: str) -> None:
    """Run one block at the prompt and keep its scores and metrics under docs/results."""
    reporter().say(f"-- {name}")
    setting = gather(overlay=[ROOT / "ablations" / "overlays" / f"{overlay}.yaml" for overlay in runs()[name]])
    if locate(setting, "extract") is None:
        make(setting, "extract")
    scores = require(setting, "evaluate")
    RESULTS.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(scores, RESULTS / f"{name}.parquet")
    shutil.copyfile(scores.with_name("metrics.json"), RESULTS / f"{name}.json")


def table(metrics: dict[str, Any]) -> str:
    """Methods by shots: mAP with half its support interval."""
    shots = {row["shots"] for row in metrics["means"]}
    chance = f"| chance | {' | '.join([_percent(metrics['mAP']['chance'])] * len(shots))} |"
    return _by_shots(metrics, _cell, [chance])


def recalls(metrics: dict[str, Any]) -> str:
    """Methods by shots: how often the paired item is among the first ten."""
    return _by_shots(metrics, lambda row: _percent(row["recall@10"]), [])


def others(scores: pa.Table) -> str:
    """Everything else at ASIDE shots: the mean over classes of mAP, the other galleries, recalls of the paired item."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in scores.filter(pc.field("direction") == "mean").to_pylist():
        place = row["gallery"], row["metric"]
        if row["shots"] == ASIDE and place in ASIDE_FIGURES:
            label = row_label(row["method"], row["variant"], row["access"], row["names"])
            found.setdefault(place, {}).setdefault(label, []).append(row["value"])
    labels = dict.fromkeys(label for own in found.values() for label in own)
    lines = [f"| {ASIDE} shots | {' | '.join(ASIDE_FIGURES.values())} |", "| --- |" + " ---: |" * len(ASIDE_FIGURES)]
    for label in labels:
        cells = (found[place].get(label) for place in ASIDE_FIGURES)
        lines.append(f"| {label} | {' | '.join(_percent(float(np.mean(own))) if own else '' for own in cells)} |")
    return "\n".join(lines) + "\n"


def _by_shots(metrics: dict[str, Any], cell: Callable[[dict[str, Any]], str], first: list[str]) -> str:
    means = metrics["means"]
    shots = sorted({row["shots"] for row in means})
    cells = {(row["label"], row["shots"]): cell(row) for row in means}
    lines = ["| shots | " + " | ".join(map(str, shots)) + " |", "| --- |" + " ---: |" * len(shots), *first]
    for label in dict.fromkeys(row["label"] for row in means):
        lines.append(f"| {label} | " + " | ".join(cells.get((label, k), "") for k in shots) + " |")
    return "\n".join(lines) + "\n"


def _percent(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}"


def _cell(row: dict[str, Any]) -> str:
    """One figure of the table; ± where there are draws to speak of."""
    width = "" if row["support"] is None else f" ± {_percent((row['support'][1] - row['support'][0]) / 2)}"
    return _percent(row["mAP"]) + width


def differences(metrics: dict[str, Any], base: str) -> str:
    """Paired differences with both intervals, and the sentence that the class interval allows: of every row from the
    base, and of a method from the one it adds to. All other pairs stand in the block's JSON file."""
    head = "| shots | compared | difference | support | class | p (Holm) | so |\n"
    told = [row for row in metrics["differences"] if _is_told({row["a"], row["b"]}, base)]
    return f"{head}| ---: | --- | ---: | --- | --- | ---: | --- |\n" + "".join(_difference(row) for row in told)


def _is_told(pair: set[str], base: str) -> bool:
    of_placebo = any(name_of(label) in pair for label in pair)
    return base in pair or of_placebo or any(pair == {method, other} for method, other in STEPS.items())


def who_beats_whom(metrics: dict[str, Any]) -> str:
    """At which shot counts the row is ahead of the column, by the Holm-corrected class interval."""
    labels = list(dict.fromkeys(row["label"] for row in metrics["means"]))
    ahead: dict[tuple[str, str], list[int]] = {}
    for row in metrics["differences"]:
        if verdict(row) != TIE:
            first, second = (row["a"], row["b"]) if row["difference"] > 0 else (row["b"], row["a"])
            ahead.setdefault((first, second), []).append(row["shots"])
    lines = [f"| ahead of | {' | '.join(labels)} |", f"| --- |{' --- |' * len(labels)}"]
    for first in labels:
        cells = (" ".join(map(str, sorted(ahead.get((first, second), [])))) for second in labels)
        lines.append(f"| {first} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _difference(row: dict[str, Any]) -> str:
    bounds = [_interval(row["support"]), _interval(row["class"])]
    pair = f"{row['a']} - {row['b']}"
    judged = ["", ""] if row["class"] is None else [p_value(row["p_holm"]), verdict(row)]
    figures = [str(row["shots"]), pair, _percent(row["difference"], "+"), *bounds, *judged]
    return "| " + " | ".join(figures) + " |\n"


def _interval(bounds: list[float] | None) -> str:
    return "" if bounds is None else f"[{_percent(bounds[0], '+')}, {_percent(bounds[1], '+')}]"


def verdict(row: dict[str, Any]) -> str:
    """Who beats whom: a name where the corrected class interval excludes a tie, else that they cannot be told apart."""
    if row["p_holm"] >= 0.05:
        return TIE
    return f"{row['a'] if row['difference'] > 0 else row['b']} is ahead"


def shortfalls(metrics: dict[str, Any], base: str) -> str:
    """In plain words, a line for each method: at which shots it does not beat its base, or the method it adds to."""
    methods = [label for label in dict.fromkeys(row["label"] for row in metrics["means"]) if label != base]
    pairs = [(method, other) for method in methods for other in (base, STEPS.get(method)) if other]
    compared = [{row["a"], row["b"]} for row in metrics["differences"]]
    return "".join(f"- {_shortfall(metrics, *pair)}\n" for pair in pairs if set(pair) in compared)


def _shortfall(metrics: dict[str, Any], method: str, other: str) -> str:
    """One sentence on one pair, worst first."""
    found: dict[str, list[int]] = {}
    for row in metrics["differences"]:
        if {row["a"], row["b"]} == {method, other}:
            found.setdefault(verdict(row), []).append(row["shots"])
    behind, level, ahead = (found.get(v, []) for v in (f"{other} is ahead", TIE, f"{method} is ahead"))
    if not behind and not level:
        return f"`{method}` beats `{other}` at every shot count."
    told = [
        f"is worse than `{other}` at {listed(behind)}" if behind else "",
        f"is not distinguishable from `{other}` at {listed(level)}" if level else "",
        f"beats it at {listed(ahead)}" if ahead else "beats it at none",
    ]
    return f"`{method}` {', '.join(part for part in told if part)}."


def ahead_of_all(metrics: dict[str, Any]) -> str:
    """One sentence: at which shots OURS is ahead of every other method that sees as little as it does."""
    others = {row["label"] for row in metrics["means"] if row["method"] != OURS.partition(" ")[0]}
    beaten: dict[int, set[str]] = {}
    for row in metrics["differences"]:
        if OURS in {row["a"], row["b"]} and verdict(row) == f"{OURS} is ahead":
            beaten.setdefault(row["shots"], set()).update({row["a"], row["b"]} & others)
    shots = [count for count, own in beaten.items() if own == others]
    where = f"at {listed(shots)}" if shots else "at no shot count"
    return f"`{OURS}` is ahead of every other method {where}, by the corrected class interval."


def listed(shots: list[int]) -> str:
    """Shot counts in words: 0, 1 and 3 shots."""
    *first, last = map(str, sorted(shots))
    return f"{', '.join(first)} and {last} shots" if first else f"{last} {'shot' if last == '1' else 'shots'}"


def render() -> dict[Path, str]:
    """The pages that quote results, with their text as the committed results make it."""
    parts = [_part(block, _metrics(name), *_beside(name)) for name, block in BLOCKS.items()]
    parts += [_check(block, _beside(name)[0]) for name, block in CHECKS.items()]
    parts.append(section(read_scores(RESULTS / f"{RUN}.parquet")))
    short = "".join(
        f"\n{block.title}:\n\n{table(_beside(name)[0])}\n{ahead_of_all(_metrics(name))}\n"
        for name, block in BLOCKS.items()
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2]
    return {
        ROOT / "docs" / "results.md": INTRO + "".join(parts),
        ROOT / "README.md": f"{before}{BEGIN}\n{short}\n{END}{after}",
    }


def _metrics(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read_json(RESULTS / f"{name}.json")
    return found


@cache
def _beside(name: str) -> tuple[dict[str, Any], pa.Table]:
    """The metrics and scores of a run, with those of its placebo where it has one."""
    metrics, scores = _metrics(name), read_scores(RESULTS / f"{name}.parquet")
    if name not in PLACEBOS:
        return metrics, scores
    placebo = PLACEBOS[name]
    scores = scores_beside(scores, read_scores(RESULTS / f"{placebo}.parquet"))
    return metrics_beside(metrics, _metrics(placebo), scores), scores


def _part(block: Block, alone: dict[str, Any], metrics: dict[str, Any], scores: pa.Table) -> str:
    """Everything on one of the main blocks; `alone` is what was measured in one run, without the placebo of another."""
    return (
        f"\n## {block.title}\n\n{table(metrics)}\n{shortfalls(metrics, block.base)}\n"
        f"Recall of the paired item among the first ten, in per cent: what a ranking by class alone loses.\n\n"
        f"{recalls(metrics)}\n"
        f"{others(scores)}\n"
        f"Where the row is ahead of the column, at which shots:\n\n{who_beats_whom(alone)}\n"
        f"{differences(metrics, block.base)}"
    )


def _check(block: Block, metrics: dict[str, Any]) -> str:
    """What stands beside the main blocks: figures, and differences from the base."""
    note = f"{block.note}\n" if block.note else ""
    return f"\n## {block.title}\n\n{note}{table(metrics)}\n{differences(metrics, block.base)}"


def main() -> None:
    """Measure the blocks named, all of them where none is, unless --render; then write the pages."""
    report_to(ConsoleReporter())
    asked = [name for name in sys.argv[1:] if not name.startswith("--")] or list(runs())
    if "--render" not in sys.argv:
        for name in asked:
            measure(name)
    for path, text in render().items():
        write_bytes(path, text.encode())


if __name__ == "__main__":
    main()
