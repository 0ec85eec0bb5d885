"""`python -m ablations.tables`: measure the shipped blocks, and write the tables of docs/results.md and README.md.

Measuring needs the research-only photos; `--render` only writes the pages from the committed docs/results.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from cache.files import write_bytes
from pipeline.commands.options import gather
from pipeline.console import ConsoleReporter
from pipeline.wiring import locate, make, require
from stages.progress import report_to, reporter

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
TIE = "not distinguishable"
BEGIN, END = "<!-- results: written by `make tables` -->", "<!-- end of results -->"

BLOCKS = {
    "openmoji": "`openmoji` (1,042 pictures and names, encoder `lite0-minilm`, not aligned: `cca` is the base)",
    "core20": "`flickr8k-core20` (1,539 photographs, `caption_0`, aligned heads: `clip` is the base)",
    "core20-masked": "`core20-masked` (the same, with the words of all classes removed from the captions)",
}
BASES = {"openmoji": "cca", "core20": "clip", "core20-masked": "clip"}
STEPS = {"gcrdp": "gap"}  # a method that adds to another one must beat that too

INTRO = """# Results

Made by `make tables`; do not edit. Figures: docs/results/*.parquet and *.json, by `python -m ablations.tables`.

mAP in per cent, mean of both directions, gallery `target`, parity protocol, 5 draws of the supports; only the first
caption of an item is used. ± is half the 95 % *support* interval (over draws, one class split); a row without ± depends
on no draw. The *class* interval (bootstrap over target classes, then queries, 2,000 draws, paired) says what other
classes would have given, and "who beats whom" rests on it, Holm-corrected at each shot count. Trained heads use the
values of params.yaml; docs/selection.md has what the source classes of core20 say of them.

96 % of core20's first captions name their own class, which makes retrieval by category easy: read it with the masked
block beside it, never alone. The photo set's labels come from its captions and were checked by nobody: it is a check of
the pipeline, no published benchmark.
"""


def measure(block: str) -> None:
    """Run one block at the prompt and keep its scores and metrics under docs/results."""
    reporter().say(f"-- {block}")
    setting = gather(overlay=[ROOT / "ablations" / "overlays" / f"{block}.yaml"])
    if locate(setting, "extract") is None:
        make(setting, "extract")
    scores = require(setting, "evaluate")
    RESULTS.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(scores, RESULTS / f"{block}.parquet")
    shutil.copyfile(scores.with_name("metrics.json"), RESULTS / f"{block}.json")


def table(metrics: dict[str, Any]) -> str:
    """Methods by shots: mAP with half its support interval."""
    means = metrics["means"]
    shots = sorted({row["shots"] for row in means})
    cells = {(row["label"], row["shots"]): _cell(row) for row in means}
    lines = ["| shots | " + " | ".join(map(str, shots)) + " |", "| --- |" + " ---: |" * len(shots)]
    lines.append(f"| chance | {' | '.join([_percent(metrics['mAP']['chance'])] * len(shots))} |")
    for label in dict.fromkeys(row["label"] for row in means):
        lines.append(f"| {label} | " + " | ".join(cells.get((label, k), "") for k in shots) + " |")
    return "\n".join(lines) + "\n"


def _percent(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}"


def _cell(row: dict[str, Any]) -> str:
    """One figure of the table; ± where there are draws to speak of."""
    width = "" if row["support"] is None else f" ± {_percent((row['support'][1] - row['support'][0]) / 2)}"
    return _percent(row["mAP"]) + width


def differences(metrics: dict[str, Any]) -> str:
    """Paired differences with both intervals, and the sentence that the class interval allows."""
    head = "| shots | compared | difference | support | class | p (Holm) | so |\n"
    return f"{head}| ---: | --- | ---: | --- | --- | ---: | --- |\n" + "".join(
        _difference(row) for row in metrics["differences"]
    )


def _difference(row: dict[str, Any]) -> str:
    bounds = [_interval(row["support"]), _interval(row["class"])]
    pair = f"{row['a']} - {row['b']}"
    figures = [str(row["shots"]), pair, _percent(row["difference"], "+"), *bounds, f"{row['p_holm']:.3f}", verdict(row)]
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
    return "".join(f"- {_shortfall(metrics, *pair)}\n" for pair in pairs)


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


def listed(shots: list[int]) -> str:
    """Shot counts in words: 0, 1 and 3 shots."""
    *first, last = map(str, sorted(shots))
    return f"{', '.join(first)} and {last} shots" if first else f"{last} {'shot' if last == '1' else 'shots'}"


def render() -> dict[Path, str]:
    """The pages that quote results, with their text as the committed results make it."""
    blocks = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in BLOCKS}
    parts = [
        f"\n## {BLOCKS[name]}\n\n{table(m)}\n{shortfalls(m, BASES[name])}\n{differences(m)}"
        for name, m in blocks.items()
    ]
    short = "".join(f"\n{BLOCKS[name]}:\n\n{table(m)}" for name, m in blocks.items())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2]
    return {
        ROOT / "docs" / "results.md": INTRO + "".join(parts),
        ROOT / "README.md": f"{before}{BEGIN}\n{short}\n{END}{after}",
    }


def main() -> None:
    """Measure unless --render, then write the pages."""
    report_to(ConsoleReporter())
    if "--render" not in sys.argv:
        for block in BLOCKS:
            measure(block)
    for path, text in render().items():
        write_bytes(path, text.encode())


if __name__ == "__main__":
    main()
