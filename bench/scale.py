"""docs/scale.md: what a million and a billion pairs cost, from the format's bytes and the rates that were measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import growth
from bench.figures import Figures, Machine
from stages.extract.params import Tokens

TEMPLATE = Path(__file__).with_name("scale_page.md")
NOT_MEASURED = "not measured"
TOKENS_A_TEXT, ID_BYTES = 13, 16
SIZES = {1_000_000: "1 million", 1_000_000_000: "1 billion"}
PLANS = ((1_000_000, 1024), (10_000_000, 1024), (1_000_000_000, 1024), (1_000_000_000, 131_072))  # rows, rows a part

Side = Literal["image", "text"]
Rates = dict[str, dict[str, Any]]  # rows of docs/benchmarks.json by name


@dataclass(frozen=True)
class Shape:
    """The dims of an encoder by side: tokens a row, their width before the projection, and the joint width."""

    name: str
    tokens: dict[Side, int]
    raw: dict[Side, int]
    joint: int


ENCODERS = (
    Shape("ViT-B/32", {"image": 49, "text": TOKENS_A_TEXT}, {"image": 768, "text": 512}, 512),
    Shape("ViT-L/14", {"image": 256, "text": TOKENS_A_TEXT}, {"image": 1024, "text": 768}, 768),
)
MODELS = ("ViT-B-32", "ViT-L-14")
PRECISIONS = ("fp32", "bf16")
SIDES = ("images", "texts")
NO_GPU = """\
No rate of a GPU is given, since no GPU was at hand, nor one of ViT-L/14: measure one on the chip at hand with
a few thousand pairs (`extract` prints items/s at the end) and put it into the formula, or run `python -m bench gpu`
there, which adds its lines. """
KINDS: tuple[Tokens, ...] = ("none", "joint", "raw")


def facts() -> dict[str, float]:
    """What grows with rows and parts, measured."""
    return growth.measure()


def bytes_a_row(shape: Shape, side: Side, tokens: Tokens, storage: int = 2) -> int:
    """The bytes of one row in a part of an aligned encoder: the datasets of docs/format.md, without the few of HDF5."""
    width = {"none": 0, "joint": shape.joint, "raw": shape.raw[side]}[tokens]
    offsets = 8 if side == "text" and tokens != "none" else 0
    vectors = 4 * (shape.joint + shape.raw[side])
    return ID_BYTES + 4 + 4 + 1 + offsets + vectors + shape.tokens[side] * width * storage


def page(figures: Figures) -> str:
    """The page for what is in docs/benchmarks.json; "not measured" for what is not there."""
    fact = figures["facts"].get("scale")
    grown = fact["told"] if fact else None
    rates = {row["name"]: row for row in figures["rows"]}
    values = {
        **({"machine": _place("cpu", fact["machine"])} if fact else {}),
        "tokens_a_text": TOKENS_A_TEXT,
        "id_bytes": ID_BYTES,
        "bytes_table": _bytes_table(),
        "hours_table": _hours_table(rates),
        "no_gpu": "" if _gpus(rates) else NO_GPU,
        "parts_table": _parts_table(grown),
        "parts_low": f"{growth.PARTS[0]:,}",
        "parts_high": f"{growth.PARTS[1]:,}",
        **(_grown(grown) if grown else {}),
    }
    return TEMPLATE.read_text(encoding="utf-8").format_map(defaultdict(lambda: NOT_MEASURED, values))


def _grown(told: dict[str, float]) -> dict[str, str]:
    """The measured values that the text names, as it writes them."""
    kept = told["plan_bytes_a_pair"]
    return {
        "index_mb": f"{told['index_bytes_a_row']:.1f}",
        "line_bytes": f"{told['line_bytes']:.0f}",
        "about_bytes": f"{told['about_bytes_a_part']:.0f}",
        "record_us": f"{1e6 * told['record_seconds_a_part']:.1f}",
        "digest_gb": f"{told['digest_bytes_a_second'] / 1e9:.0f}",
        "writing": f"{told['writing_bytes_a_byte']:.1f}",
        "plan_bytes": f"{kept:.0f}",
        "plan_peak": f"{told['plan_peak_bytes_a_pair']:.0f}",
        "plan_million": f"{kept * 1e6 / 1e9:.1f}",
        "plan_billion": f"{kept * 1e9 / 1e9:.0f}",
        "record_ten_million": duration(record_seconds(told, -(-10_000_000 // 1024))),
    }


def record_seconds(told: dict[str, float], parts: int) -> float:
    """Seconds that the leader spends on recording so many parts, one after the other."""
    return parts * told["record_seconds"] + told["record_seconds_a_part"] * parts**2 / 2


def _bytes_table() -> str:
    lines = [
        [
            shape.name,
            tokens,
            *(f"{bytes_a_row(shape, side, tokens):,}" for side in ("image", "text")),
            *(amount(pairs * _pair(shape, tokens)) for pairs in SIZES),
        ]
        for shape in ENCODERS
        for tokens in KINDS
    ]
    heads = ["encoder", "tokens", "bytes an image", "bytes a text", *(f"{size} pairs" for size in SIZES.values())]
    return table(heads, lines)


def _pair(shape: Shape, tokens: Tokens) -> int:
    return bytes_a_row(shape, "image", tokens) + bytes_a_row(shape, "text", tokens)


def _hours_table(rates: Rates) -> str:
    """Lines of the processor, measured or not, and of each GPU what was measured on it."""
    of_cpu = [("ViT-B-32", precision, "") for precision in PRECISIONS]
    of_gpus = [(model, precision, f", {gpu}") for gpu in _gpus(rates) for model in MODELS for precision in PRECISIONS]
    of_gpus = [each for each in of_gpus if all(_rate(rates, side, *each) for side in SIDES)]
    lines = [_hours_line(rates, *each, captions) for each in (*of_cpu, *of_gpus) for captions in (1, 5)]
    heads = ["encoder", "precision", "on", "images/s", "texts/s", "captions an image"]
    return table([*heads, *(f"{size} images" for size in SIZES.values())], lines)


def _gpus(rates: Rates) -> list[str]:
    return sorted({row["device"] for row in rates.values()} - {"cpu"})


def _rate(rates: Rates, side: str, model: str, precision: str, suffix: str) -> dict[str, Any] | None:
    """The row of one side of an encoder; `suffix` names the GPU, nothing the processor."""
    return rates.get(f"{model}, {side} alone, {precision}{suffix}")


def _hours_line(rates: Rates, model: str, precision: str, suffix: str, captions: int) -> list[str]:
    images, texts = (_rate(rates, side, model, precision, suffix) for side in SIDES)
    told = [f"{row['ours']:.0f}" if row else NOT_MEASURED for row in (images, texts)]
    one = images or texts
    place = _place(one["device"], one["machine"]) if one else NOT_MEASURED
    seconds = 1 / images["ours"] + captions / texts["ours"] if images and texts else None
    return [model, precision, place, *told, str(captions), *(_hours(seconds, pairs) for pairs in SIZES)]


def _place(device: str, machine: Machine) -> str:
    """A device in its machine."""
    cores = f"{machine['cores']} cores ({machine['chip']})"
    return cores if device == "cpu" else f"{device}, {cores}"


def _hours(seconds: float | None, pairs: int) -> str:
    return NOT_MEASURED if seconds is None else f"{seconds * pairs / 3600:,.0f} h"


def _parts_table(told: dict[str, float] | None) -> str:
    lines = []
    for rows, per_part in PLANS:
        parts = -(-rows // per_part)
        size = amount(per_part * bytes_a_row(ENCODERS[0], "image", "joint"))
        measured = [NOT_MEASURED] * 3
        if told:
            index = amount(rows * told["index_bytes_a_row"])
            measured = [index, amount(parts * told["line_bytes"]), duration(record_seconds(told, parts))]
        lines.append([f"{rows:,}", f"{per_part:,}", f"{parts:,}", size, *measured])
    heads = ["rows", "rows a part", "parts", "bytes a part*", "index.parquet", "shards.jsonl", "all records take"]
    return table(heads, lines) + "\n\\* images of ViT-B/32, joint tokens.\n"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, an empty line before and after it."""
    rule = ["---"] * len(heads)
    return "\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in [heads, rule, *lines])


def amount(count: float) -> str:
    """Bytes as people say them: three digits and a decimal unit."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    step = 0
    while count >= 999.5 and step < len(units) - 1:
        count, step = count / 1000, step + 1
    return f"{count:.3g} {units[step]}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"
