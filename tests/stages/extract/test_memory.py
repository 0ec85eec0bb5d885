"""What an extraction holds in memory does not grow with the dataset, but for what names its rows."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cache.manifest import Manifest, write_manifest
from tests.stages.extract.conftest import Toys, manifest_of, write_model

WIDE: dict[str, Any] = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 60, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
ROWS = 300
TOKENS = 65 * 512 * 2  # bytes of a picture's, a caption's are about as many
A_ROW = 4_000  # bytes that its lines in the manifest, the record and the index may take at their peak

CHILD = """
import pickle, re, sys
from pathlib import Path
from stages.extract.run import run
run(pickle.loads(Path(sys.argv[1]).read_bytes()))
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def dataset_of(toys: Toys, items: int) -> Manifest:
    """One picture again and again, each time with one caption of some fifty words."""
    return replace(manifest_of(toys.root, ["one.png"] * items), texts=[[f"{i} and " * 25] for i in range(items)])


def peak(toys: Toys, items: int) -> int:
    """The most memory, in bytes, that a fresh process held while it extracted so many pictures and texts."""
    params = toys.into(f"store{items}", rows_per_shard=100, batch=20)
    write_manifest(params.manifest, dataset_of(toys, items), "test")
    given = toys.base / "params.pickle"
    given.write_bytes(pickle.dumps(params))
    done = subprocess.run([sys.executable, "-c", CHILD, given], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ten_times_the_rows_take_no_more_memory(toys: Toys, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "wide", WIDE)
    toys = replace(toys, params=replace(toys.params, encoder=f"local-dir:{model}"))
    Image.effect_noise((64, 64), 80).save(toys.root / "one.png")
    small, large = peak(toys, ROWS), peak(toys, 10 * ROWS)
    grown = large - small
    with capsys.disabled():
        print(f"\npeak memory: {small / 1e6:.0f} MB at {ROWS} pairs, {large / 1e6:.0f} MB at {10 * ROWS}")
    assert grown < 0.05 * small + 9 * ROWS * A_ROW
    assert 0.05 * small + 9 * ROWS * A_ROW < 9 * ROWS * TOKENS / 2  # or the bound would let all tokens of a kind pass
