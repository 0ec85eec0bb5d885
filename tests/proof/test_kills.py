"""A tenth of what `make proof` kills."""

from __future__ import annotations

from proof import kills


def test_a_killed_extraction_is_resumed_to_the_very_same_bytes() -> None:
    for proof in kills.prove(0.1):
        print(f"{proof.what}: {proof.held} of {proof.tried} ({proof.note})")
        assert proof.held == proof.tried > 0, proof
