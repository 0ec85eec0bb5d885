"""A bit that turned over in the store: nothing is made of it, and the commands the message names mend it."""

from __future__ import annotations

from pathlib import Path

from proof.checkout import make_folder, pipeline
from tests.cache.build import flip_bit, tree


def test_a_flipped_bit_in_the_features_is_never_fitted_on_and_the_named_commands_mend_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "checkout")
    assert pipeline(folder, "extract").returncode == 0
    part = max((folder / "data/store/features").rglob("part-00000.h5"), key=lambda p: p.stat().st_size)
    whole = part.read_bytes()
    flip_bit(part)
    before = tree(folder / "data/store")
    assert pipeline(folder, "split").returncode == 0  # reads the index alone, and no damaged byte
    for command in (("extract",), ("split", "-S", "split.seeds=1")):
        refused = pipeline(folder, *command, "--verify-on-read")
        assert refused.returncode == 1
        assert "its content has digest" in refused.stderr.splitlines()[-1]
    asked = ("train", "--shots", "1", "--method", "gcrdp")
    done = pipeline(folder, *asked)
    assert done.returncode == 1
    named = "; run 'verify --repair', then 'extract' writes only this part again"
    assert done.stderr.splitlines()[-1].endswith(named), done.stderr
    assert tree(folder / "data/store") == before
    assert pipeline(folder, "verify", "--repair").returncode == 0
    assert pipeline(folder, "extract").returncode == 0
    assert part.read_bytes() == whole
    done = pipeline(folder, *asked)
    assert done.returncode == 0, done.stderr
