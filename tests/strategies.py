"""Hypothesis strategies that several test files share: valid manifests, parts of a cache, ragged lengths."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cache.features import Failure, Part, RowKind
from cache.hdf5 import Array
from cache.manifest import Manifest

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
"""Any text that UTF-8 can say, NUL excepted; may be empty."""

NAMES = st.from_regex(r"[A-Za-zäß0-9_ -][A-Za-zäß0-9_. -]{0,8}", fullmatch=True).filter(
    lambda s: s.strip() not in ("", "..")
)
"""Usable ids, file names and class names."""

CAPTIONS = WORDS.filter(lambda text: text.strip() != "")
"""Captions: any text that is not blank."""


def ragged_lengths(most: int = 6) -> st.SearchStrategy[list[int]]:
    """How many tokens each of 0 to 6 rows has, at least one a row."""
    return st.lists(st.integers(1, most), max_size=6)


def labels_of(classes: list[str]) -> st.SearchStrategy[list[str]]:
    """The classes of one item: one or more, in order, each once."""
    return st.lists(st.sampled_from(classes), min_size=1, unique=True).map(sorted)


@st.composite
def manifests(draw: st.DrawFn, most: int = 8) -> Manifest:
    """Manifests that check_manifest accepts: unique ids, several captions, one label or more, at least two classes."""
    ids = draw(st.lists(NAMES, min_size=2, max_size=most, unique=True))
    classes = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    n = len(ids)

    def column(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(values, min_size=n, max_size=n))

    labels = [[classes[0]], [classes[1]], *column(labels_of(classes))[2:]]
    return Manifest(
        name=draw(NAMES),
        root=draw(NAMES),
        ids=ids,
        images=[f"{name}.png" for name in ids],
        texts=column(st.lists(CAPTIONS, min_size=1, max_size=5)),  # type: ignore[arg-type]
        labels=labels,  # type: ignore[arg-type]
        splits=column(st.sampled_from(["train", "val", "test", None])),  # type: ignore[arg-type]
        bytes=column(st.integers(1, 2**40)),  # type: ignore[arg-type]
        xxh3=column(st.from_regex(r"[0-9a-f]{32}", fullmatch=True)),  # type: ignore[arg-type]
    )


def _floats(shape: tuple[int, ...], dtype: type[np.floating]) -> st.SearchStrategy[Array]:
    return hnp.arrays(dtype, shape, elements=st.floats(-8, 8, width=16))


@st.composite
def parts(draw: st.DrawFn, rows: RowKind, width: int = 3, pooled: int = 4) -> Part:
    """Parts of a cache of one kind of rows, some without any usable row, with and without raw vectors and failures."""
    lengths = draw(ragged_lengths())
    n, patches = len(lengths), 2
    n_tokens = np.array([patches] * n if rows == "image" else lengths, np.int32)
    shape = (n, patches, width) if rows == "image" else (int(n_tokens.sum()), width)
    return Part(
        ids=draw(st.lists(NAMES, min_size=n, max_size=n)),
        captions=draw(hnp.arrays(np.int32, n, elements=st.integers(0, 4))),
        n_tokens=n_tokens,
        truncated=draw(hnp.arrays(np.bool_, n)),
        tokens=draw(_floats(shape, np.float16)),
        offsets=None if rows == "image" else np.cumsum([0, *lengths], dtype=np.int64),
        pooled=draw(_floats((n, pooled), np.float32)),
        pooled_raw=draw(st.none() | _floats((n, pooled + 1), np.float32)),
        failures=draw(st.lists(st.builds(Failure, NAMES, NAMES, NAMES, WORDS), max_size=2)),
    )
