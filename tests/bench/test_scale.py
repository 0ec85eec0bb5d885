"""docs/scale.md says what the format's bytes and the measured rates give."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import growth, scale
from cache.features import Part, write_part

FACTS = {
    "record_seconds": 0.001,
    "record_seconds_a_part": 1e-5,
    "line_bytes": 140.0,
    "about_bytes_a_part": 19.0,
    "index_bytes_a_row": 10.0,
    "digest_bytes_a_second": 16e9,
    "writing_bytes_a_byte": 2.96,
    "plan_bytes_a_pair": 600.0,
    "plan_peak_bytes_a_pair": 900.0,
}


MACHINE = {"cores": 2, "chip": "a chip"}


def results(facts: dict[str, Any], device: str = "cpu", model: str = "ViT-B-32", **rates: float) -> dict[str, Any]:
    """Figures of one device; `images_fp32` is the row `images alone, fp32`."""
    suffix = "" if device == "cpu" else f", {device}"
    names = {f"{model}, {name.replace('_', ' alone, ')}{suffix}": rate for name, rate in rates.items()}
    rows = [{"name": name, "ours": rate, "device": device, "machine": MACHINE} for name, rate in names.items()]
    return {"rows": rows, "facts": {name: {"machine": MACHINE, "told": told} for name, told in facts.items()}}


def cells(page: str, start: str) -> list[str]:
    (found,) = [told for told in page.splitlines() if told.startswith(start)]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_hours_and_bytes_are_those_of_the_rates_and_the_format() -> None:
    page = scale.page(results({"scale": FACTS}, images_fp32=20.0, texts_fp32=100.0, images_bf16=40.0, texts_bf16=200.0))
    assert scale.NOT_MEASURED not in page
    assert cells(page, "| ViT-B-32 | fp32 | 2 cores (a chip) | 20 | 100 | 1")[6:] == ["17 h", "16,667 h"]
    assert cells(page, "| ViT-B-32 | bf16 | 2 cores (a chip) | 40 | 200 | 5")[6:] == ["14 h", "13,889 h"]
    assert cells(page, "| ViT-B/32 | joint")[2:] == ["55,321", "17,441", "72.8 GB", "72.8 TB"]
    assert cells(page, "| 10,000,000 | 1,024")[2:] == ["9,766", "56.6 MB", "100 MB", "1.37 MB", "8 min"]
    assert cells(page, "| 1,000,000,000 | 1,024")[2:] == ["976,563", "56.6 MB", "10 GB", "137 MB", "55 days"]
    assert "3.0 times a part's bytes" in page
    assert scale.NO_GPU in page
    assert "600 bytes a pair with one caption, 900 at most" in page
    assert "A million pairs take 0.6 GB, a billion 600 GB" in page


def test_what_was_not_measured_is_said_to_be_so() -> None:
    page = scale.page(results({}, images_fp32=20.0))
    told = cells(page, f"| ViT-B-32 | fp32 | 2 cores (a chip) | 20 | {scale.NOT_MEASURED} | 1")
    assert told[6:] == [scale.NOT_MEASURED] * 2
    assert cells(page, "| 10,000,000 | 1,024")[4:] == [scale.NOT_MEASURED] * 3
    assert f"that takes {scale.NOT_MEASURED} µs" in page


def test_a_gpu_that_was_measured_has_lines_of_its_own() -> None:
    told = results({"scale": FACTS}, "a GPU", "ViT-L-14", images_bf16=1000.0, texts_bf16=5000.0)
    page = scale.page(told)
    assert cells(page, "| ViT-L-14 | bf16 | a GPU, 2 cores (a chip) | 1000 | 5000 | 5")[6:] == ["1 h", "556 h"]
    assert scale.NO_GPU not in page
    assert "| ViT-L-14 | fp32" not in page


@pytest.mark.parametrize("tokens", scale.KINDS)
@pytest.mark.parametrize("side", ["image", "text"])
def test_bytes_a_row_are_those_of_a_part(tmp_path: Path, side: scale.Side, tokens: str) -> None:
    n, shape = 200, scale.ENCODERS[0]
    width = {"none": None, "joint": shape.joint, "raw": shape.raw[side]}[tokens]
    of_a_row = shape.tokens[side]
    size = (n, of_a_row, width) if side == "image" else (n * of_a_row, width)
    part = Part(
        ids=[f"{i:016x}" for i in range(n)],
        captions=np.zeros(n, np.int32),
        n_tokens=np.full(n, of_a_row, np.int32),
        truncated=np.zeros(n, np.bool_),
        tokens=None if width is None else np.zeros(size, np.float16),
        offsets=np.arange(n + 1) * of_a_row if width and side == "text" else None,
        pooled=np.zeros((n, shape.joint), np.float32),
        pooled_raw=np.zeros((n, shape.raw[side]), np.float32),
    )
    write_part(tmp_path / "part", part)
    beside = (tmp_path / "part").stat().st_size - n * scale.bytes_a_row(shape, side, tokens)
    assert 0 <= beside < 8192  # the layout, once a file


def test_the_page_names_nothing_that_it_is_not_given() -> None:
    text = scale.TEMPLATE.read_text(encoding="utf-8")
    page = scale.page(results({"scale": FACTS}))
    assert not re.findall(r"\{\w+\}", page)
    assert len(re.findall(r"\{\w+\}", text)) > 15


def test_growth_measures_every_value_that_the_page_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "PARTS", (10, 200))
    monkeypatch.setattr(growth, "PAIRS", 300)
    monkeypatch.setattr(growth, "INDEX_ROWS", 2000)
    monkeypatch.setattr(growth, "HASHED", 1 << 16)
    monkeypatch.setattr(growth, "SHARDS", (64, 320))
    measured = growth.measure()
    assert set(measured) == set(FACTS)
    assert 130 < measured["line_bytes"] < 150
    assert 200 < measured["plan_bytes_a_pair"] <= measured["plan_peak_bytes_a_pair"] < 3000
    assert 2 < measured["writing_bytes_a_byte"] < 4
