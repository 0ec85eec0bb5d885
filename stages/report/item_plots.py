"""The plots of single items: whose their patches are, how alike they are, where they lie, before training and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.heads.head import Head
from stages.heads.linear import LinearHead
from stages.items import MODALITIES, Array, Modality
from stages.report import item_draw, spaces, words
from stages.report.asked import evenly
from stages.report.components import Mixed
from stages.report.first_draw import FirstDraw, few_of_each
from stages.report.plots import Plot
from stages.retrieval import Float64

PANELS = 6  # spaces that are drawn
MATRIX, MATRIX_CLASSES = 48, 8  # items of a similarity matrix, and their classes
RDP = "gcrdp"  # the method whose loss has the relative distances


def components_plot(pictures: Sequence[Mixed], groups: str) -> Plot:
    """Whose the patches of a few pictures are. groups: `random` where the mixture was dealt at random."""
    rows = [
        (one.id, one.name, row, column, k + 1, round(float(value), 4))
        for one in pictures
        for (row, column, k), value in np.ndenumerate(one.owners)
    ]
    told = "; ".join(f"{one.name} {' / '.join(words.percent(float(w)) for w in one.weights)}" for one in pictures)
    dealt = " Here tokens were dealt to components at random (mixture.groups: random)." if groups == "random" else ""
    return Plot(
        "components",
        "The components over the picture: each patch in the colour, and with the number, of the component that it"
        " belongs to most; 1 is the heaviest. Above the map: the weights of the components. The first readable test"
        f" picture of some classes, as the encoder saw it.{dealt}",
        f"{len(pictures)} pictures, each beside a map of its patches by component; weights in per cent: {told}.",
        ("id", "class", "row", "column", "component", "responsibility"),
        rows,
        lambda: item_draw.components(pictures),
    )


def distances_plot(draw: FirstDraw) -> Plot:
    """D_v and D_t of some items before the relative distances were preserved and after."""
    places = _compared(draw)
    names = [draw.items.ids[place] for place in places]
    stages = _rdp_stages(draw, places)
    rows = [
        (stage, modality, names[i], names[j], round(float(value), 5))
        for stage, *both in stages
        for modality, matrix in zip(MODALITIES, both, strict=True)
        for (i, j), value in np.ndenumerate(matrix)
    ]
    told = "; ".join(f"{stage} {spaces.mean_apart(image, text):.3f}" for stage, image, text in stages)
    own = [draw.classes[place] for place in places]
    starts = [i for i, name in enumerate(own) if i == 0 or own[i - 1] != name]
    return Plot(
        "distances",
        "How alike the same items are to each other as pictures, Dv, and as texts, Dt: test items of the first draw,"
        " class by class, white lines between classes. Training pulls the two matrices towards each other where either"
        f" is above theta. Mean |Dv \N{MINUS SIGN} Dt| of two different items: {told or words.NONE}.",
        f"Heat maps of how alike {len(names)} items are within each modality; mean difference of the two: {told}.",
        ("stage", "modality", "item", "other", "similarity"),
        rows,
        lambda: item_draw.distances(stages, starts),
    )


def _compared(draw: FirstDraw) -> list[int]:
    """The places of the items that are compared: of some classes, evenly from the first to the last, as many each."""
    names = evenly(list(dict.fromkeys(draw.classes)), MATRIX_CLASSES)
    of_them = [place for place, name in enumerate(draw.classes) if name in names]
    return [of_them[place] for place in few_of_each([draw.classes[place] for place in of_them], MATRIX)]


def _rdp_stages(draw: FirstDraw, places: Sequence[int]) -> list[tuple[str, Float64, Float64]]:
    """What the two matrices were and are called: in the space that training starts from, and under the trained head."""
    start = spaces.start_of(draw.items, draw.heads)
    label = next((name for name in draw.heads if name.split(" ")[0] == RDP), None)
    head = draw.heads[label] if label else None
    if start is None or not isinstance(head, LinearHead):
        return []
    few = draw.items.take(list(places))
    both = {"before": start, f"after {label}": spaces.pooled_alone(head)}
    matrices = {name: [spaces.similarities(_vectors(own, few, m)) for m in MODALITIES] for name, own in both.items()}
    return [(name, image, text) for name, (image, text) in matrices.items()]


def _vectors(head: Head, items: Any, modality: Modality) -> Array:
    return spaces.one_vector(head.vectors(items, modality, "target"))


def modalities_plot(draw: FirstDraw) -> Plot:
    """Both modalities in two dimensions, before training and under several heads."""
    rows, told = [], []
    for name, head in shown_spaces(draw).items():
        parts = [_vectors(head, draw.items, modality) for modality in MODALITIES]
        points, shares = spaces.two_axes(parts)
        title = f"{name}: gap {spaces.gap(*parts):.2f}"
        told.append(f"{title}, {words.percent(sum(shares))} per cent of the variance")
        rows += [
            (title, modality, one, own, round(float(x), 5), round(float(y), 5))
            for modality, place in zip(MODALITIES, points, strict=True)
            for one, own, (x, y) in zip(draw.items.ids, draw.classes, place, strict=True)
        ]
    return Plot(
        "modalities",
        "Pictures and texts of the same test items on the two first principal axes of each space, first draw, largest"
        " shot count; their means are large, and the line between them is what is seen of the gap. The gap in the"
        " titles is that of these items in all dimensions.",
        f"Scatter plots of pictures and texts, a panel a space: {'; '.join(told)}.",
        ("space", "modality", "id", "class", "x", "y"),
        rows,
        lambda: item_draw.modalities(rows),
    )


def shown_spaces(draw: FirstDraw) -> dict[str, Head]:
    """The space that training starts from, then those of some heads; heads that only align are that start."""
    start = spaces.start_of(draw.items, draw.heads)
    before = {} if start is None else {"before" if draw.items.aligned else "before: CCA": start}
    trained = {
        label: head
        for label, head in draw.heads.items()
        if not (isinstance(head, LinearHead) and not head.residual and (draw.items.aligned == (not head.align)))
    }
    return dict([*before.items(), *trained.items()][:PANELS])


def item_plots(draw: FirstDraw, pictures: Sequence[Mixed], about: Mapping[str, Any]) -> list[Plot]:
    """The plots of this file, in the order of the page. about: what the mixture ledger says."""
    return [
        components_plot(pictures, str(about.get("groups", ""))),
        distances_plot(draw),
        modalities_plot(draw),
    ]
