"""Which files imported features are read from. Light: what is slow to import stays out of here."""

from __future__ import annotations

from pathlib import Path

from stages.imported.params import FeaturesSection


def inputs_of(section: FeaturesSection) -> list[str]:
    """Every path of the section that is read, as params.yaml has it, the lists beside a .mat file among them."""
    paths = [path for path in (section.path, section.table, *section.split_lists) if path]
    if section.path is not None and is_mat(section.path):
        paths += [str(Path(section.path).parent / name) for name in (*section.mat.lists, section.mat.categories)]
    return paths


def is_mat(path: str | Path) -> bool:
    """Whether a path names a file of MATLAB."""
    return Path(path).suffix.lower() == ".mat"
