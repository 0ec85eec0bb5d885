"""The answer of an experiment on one dataset as a page: what was asked, what its table says, the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from pipeline.ablation import cost_words, plot, words
from pipeline.ablation.experiment import ExperimentSection, Kind

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Telling:
    """How a table of one kind is told: in sentences, as Markdown, as a figure."""

    answer: Callable[[ExperimentSection, Sequence[Row]], list[str]]
    table: Callable[[ExperimentSection, Sequence[Row]], str]
    drawn: Callable[[Sequence[Row]], Figure]


TELLING: Mapping[Kind, Telling] = {
    "retrieval": Telling(words.answer, words.table, plot.drawn),
    "cost": Telling(cost_words.answer, cost_words.table, cost_words.drawn),
}


def answer(section: ExperimentSection, rows: Sequence[Row]) -> list[str]:
    """The sentences that a table allows."""
    found = [row for row in rows if not row["note"]]
    return TELLING[section.kind].answer(section, found) if found else ["Nothing of this could be run here."]


def lost(rows: Sequence[Row]) -> list[str]:
    """What could not be run, a line each."""
    return [row["note"] for row in rows if row["note"]]


def page(section: ExperimentSection, dataset: str, rows: Sequence[Row]) -> str:
    """The answer on one dataset as Markdown, with what could not be run here."""
    head = f"# {section.question}\n\nSaid of it: {section.paper}\n\nOn `{dataset}`: {' '.join(answer(section, rows))}\n"
    missing = "".join(f"- {line}\n" for line in lost(rows))
    found = [row for row in rows if not row["note"]]
    table = f"\n{TELLING[section.kind].table(section, found)}" if found else ""
    return head + (f"\nNot run here:\n\n{missing}" if missing else "") + table
