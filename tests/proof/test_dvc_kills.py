"""A tenth of what `make proof` kills under DVC."""

from __future__ import annotations

from proof import dvc_kills


def test_the_run_after_a_kill_under_dvc_goes_on_to_the_very_same_bytes() -> None:
    for proof in dvc_kills.prove(0.1):
        print(f"{proof.what}: {proof.held} of {proof.tried} ({proof.note})")
        assert proof.held == proof.tried > 0, proof
