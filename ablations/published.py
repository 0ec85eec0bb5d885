"""Published figures, and what is measured here under the protocol they were published for."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from stages.naming import row_label

RUN = "wikipedia-2010"
OVERLAYS = ("wikipedia-2010",)
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}
PUBLISHED = {"i2t": 0.249, "t2i": 0.202}  # CCA on these features and this split
TOLERANCE = 0.005  # how far `cca` may be from them

INTRO = """
## `wikipedia-2010`, beside published figures

The published features of Wikipedia 2010 (128 visual words, 10 topics), all ten classes, the official 2,173 and 693
pairs: `import-features` and protocol `classic`, which has nothing in common with the few-shot tables above. `cca` has 7
dimensions, ridge 1e-4 and power 0; `as shipped` stands for the values of params.yaml. mAP in per cent.
"""


def section(scores: pa.Table) -> str:
    """The part of docs/results.md that has measured figures beside the published ones."""
    lines = [f"| | {' | '.join(DIRECTIONS.values())} |", "| --- |" + " ---: |" * len(DIRECTIONS)]
    lines.append(_line("published: CCA", PUBLISHED))
    lines += [_line(label, figures) for label, figures in measured(scores).items()]
    return INTRO + "\n" + "\n".join(lines) + "\n"


def measured(scores: pa.Table) -> dict[str, dict[str, float]]:
    """mAP of every row by direction, a fraction."""
    found: dict[str, dict[str, float]] = {}
    for row in scores.filter(pc.field("metric") == "mAP").to_pylist():
        label = row_label(row["method"], row["variant"], row["access"], row["names"])
        found.setdefault(label, {})[row["direction"]] = row["value"]
    return found


def _line(label: str, figures: dict[str, float]) -> str:
    return f"| {label} | {' | '.join(f'{100 * figures[direction]:.1f}' for direction in DIRECTIONS)} |"
