"""The training loop that the residual heads share: batches, Adam, a curve of every term."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from cache.errors import UserError
from stages.heads.head import Affine, Step, to_sphere
from stages.heads.linear import Residual
from stages.items import MODALITIES, Array, Modality
from stages.threads import one_blas_thread
from stages.train.episode import TrainEpisode, members_of, name_vectors, require_names
from stages.train.params import BatchesSection, DescentSection, GapSection

Weights = dict[Modality, tuple[Tensor, ...]]  # W, b and, behind a hidden layer, W1, b1 (see Residual)


@dataclass(frozen=True)
class Batch:
    """B items: pooled[m] (B, d); views[m] (B, K, d), weights[m] (B, K) and live[m] (B, K) bool, empty where the
    method reads no views; classes (B, C) bool; item (B,) int64, which item a row is; support (B,) bool."""

    pooled: dict[Modality, Tensor]
    views: dict[Modality, Tensor]
    weights: dict[Modality, Tensor]
    live: dict[Modality, Tensor]
    classes: Tensor
    item: Tensor
    support: Tensor

    def take(self, rows: Tensor) -> Batch:
        """Some rows, in that order; a row may come twice."""
        groups = (self.pooled, self.views, self.weights, self.live)
        pooled, views, weights, live = ({m: values[rows] for m, values in group.items()} for group in groups)
        return Batch(pooled, views, weights, live, self.classes[rows], self.item[rows], self.support[rows])

    @property
    def same_class(self) -> Tensor:
        """(B, B) bool: do two rows share a label."""
        numbers = self.classes.float()
        return numbers @ numbers.T > 0

    @property
    def distinct(self) -> Tensor:
        """(B, B) bool: are two rows different items."""
        return self.item[:, None] != self.item[None, :]


Objective = Callable[[Batch, Weights], dict[str, Tensor]]  # every figure to record; `loss` is what falls


def prepare(episode: TrainEpisode, align: dict[Modality, Affine], views: bool) -> Batch:
    """All N items of an episode as one batch of unit vectors (see heads.to_sphere) on the CPU, float32, on one
    thread."""
    items = episode.items
    mixed = MODALITIES if views else ()

    def mapped(values: Array, modality: Modality) -> Tensor:
        with one_blas_thread():
            return _tensor(to_sphere(values, items.aligned, align.get(modality)))

    return Batch(
        pooled={m: mapped(items.pooled[m], m) for m in MODALITIES},
        views={m: mapped(items.views[m], m) for m in mixed if items.views},
        weights={m: _tensor(items.weights[m]) for m in mixed if items.weights},
        live={m: torch.tensor(items.live[m]) for m in mixed if items.live},
        classes=one_hot(items.labels),
        item=torch.arange(len(items)),
        support=torch.tensor(episode.support),
    )


def _tensor(values: Array) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def classes_of(labels: list[tuple[str, ...]]) -> list[str]:
    """The sorted classes that occur."""
    return sorted({name for own in labels for name in own})


def one_hot(labels: list[tuple[str, ...]]) -> Tensor:
    """(N, C) bool, C the sorted classes that occur."""
    return torch.tensor(members_of(labels, classes_of(labels)))


def mapped_names(
    episode: TrainEpisode, classes: Sequence[str], align: Mapping[Modality, Affine], otherwise: str
) -> Tensor:
    """The names of some classes as unit vectors (C, d) float32, each the mean over the templates, mapped as texts are.

    UserError for a class whose name has no vector; it says what to do otherwise than rename it."""
    vectors = name_vectors(episode.items, classes, "joint")
    require_names(classes, vectors, otherwise)
    with one_blas_thread():
        return torch.tensor(to_sphere(vectors, episode.items.aligned, align.get("text")))


def residual(values: Tensor, weight: Tensor, bias: Tensor, *hidden: Tensor) -> Tensor:
    """norm(x + xW + b), or with a hidden layer (W1, b1) norm(x + relu(x W1 + b1) W + b): see projected."""
    return normalize(projected(values, weight, bias, *hidden), dim=-1)


def projected(values: Tensor, weight: Tensor, bias: Tensor, *hidden: Tensor) -> Tensor:
    """x + xW + b, or with a hidden layer (W1, b1) x + relu(x W1 + b1) W + b: values (..., d); the rest as in
    heads.Residual."""
    inner = torch.relu(values @ hidden[0] + hidden[1]) if hidden else values
    return values + inner @ weight + bias


def stream(seed: int, *purpose: str) -> torch.Generator:
    """The random numbers of one purpose under a seed: others than those of any other purpose, and than `by_seed`'s."""
    words = np.random.SeedSequence([seed, *" ".join(purpose).encode()]).generate_state(1)
    return torch.Generator().manual_seed(int(words[0]))  # torch reads no more than 32 bits


def by_seed(seed: int) -> torch.Generator:
    """The random numbers of a seed itself, by which the batches of a head are drawn; all else has a `stream`."""
    return torch.Generator().manual_seed(seed)


def draw_batches(support: Tensor, section: BatchesSection, generator: torch.Generator) -> Iterator[Tensor]:
    """`steps` batches of row numbers (batch,), `support_share` of each from the supports where there are any; all of it
    where there is nothing else.

    Rows repeat within a batch only where there are fewer than are wanted."""
    groups = [torch.nonzero(~support).flatten(), torch.nonzero(support).flatten()]
    share = section.support_share if all(map(len, groups)) else float(not len(groups[0]))
    wanted = round(section.batch * share)
    for _ in range(section.steps):
        counts = zip(groups, (section.batch - wanted, wanted), strict=True)
        yield torch.cat([_draw(rows, count, generator) for rows, count in counts])


def _draw(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if count > len(rows):
        return rows[torch.randint(len(rows), (count,), generator=generator)]
    return rows[torch.randperm(len(rows), generator=generator)[:count]]


def train_residuals(
    data: Batch, section: GapSection, objective: Objective, seed: int
) -> tuple[dict[Modality, Residual], tuple[Step, ...]]:
    """Train the residuals of both modalities from the identity with Adam; returns them, and the curve of every
    figure."""
    width, drawn = data.pooled["image"].shape[-1], stream(seed, "weights")
    start: Weights = {m: identity(width, section.hidden, drawn) for m in MODALITIES}
    return train_from(data, start, section, objective, seed)


def identity(width: int, hidden: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Where a residual starts: W and b at 0, hence x -> x. A hidden layer of `hidden` units, 0 for none, starts with
    b1 at 0 and W1 ~ N(0, 2 / hidden), so that relu(x W1) is about as long as x (ours)."""
    if not hidden:
        return zeros(width, width), zeros(width)
    drawn = torch.randn(width, hidden, generator=generator) * math.sqrt(2 / hidden)
    return zeros(hidden, width), zeros(width), drawn.requires_grad_(), zeros(hidden)


def train_from(
    data: Batch, weights: Weights, section: DescentSection, objective: Objective, seed: int
) -> tuple[dict[Modality, Residual], tuple[Step, ...]]:
    """Train what of some residuals' weights requires a gradient; returns all of them, and the curve of every figure."""
    trained = [tensor for pair in weights.values() for tensor in pair if tensor.requires_grad]
    batches = draw_batches(data.support, section, by_seed(seed))
    curve = descend(trained, batches, lambda rows: objective(data.take(rows), weights), section.lr)
    return {m: Residual(*(array_of(tensor) for tensor in pair)) for m, pair in weights.items()}, curve


def descend(
    trained: Sequence[Tensor], batches: Iterable[Tensor], figures: Callable[[Tensor], dict[str, Tensor]], lr: float
) -> tuple[Step, ...]:
    """Train weights in place with Adam, a step for each batch of row numbers: `figures` says what there is to record of
    it, of which `loss` is what falls. Returns the curve of every figure; UserError where a loss or the weights at the
    end are no finite numbers. One thread, so that the numbers do not depend on how many cores there are."""
    adam = torch.optim.Adam(trained, lr=lr)
    curve: list[Step] = []
    with one_thread():
        for step, rows in enumerate(batches):
            found = figures(rows)
            descend_once(adam, found["loss"], step)
            curve += [Step(step, name, float(value.detach())) for name, value in found.items()]
    require_finite_weights(trained)
    return tuple(curve)


def descend_once(adam: torch.optim.Adam, loss: Tensor, step: int) -> None:
    """One step of Adam down a loss; UserError where that is no finite number."""
    _require_finite(loss, step)
    adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    adam.step()


def require_finite_weights(weights: Iterable[Tensor]) -> None:
    """UserError where the last step of a training left weights whose squares are no finite numbers: a vector mapped by
    them has no length to divide by."""
    if not all(bool(torch.isfinite(tensor.detach().square().sum())) for tensor in weights):
        raise UserError("train: the weights are no usable numbers after the last step; lower lr of the method")


def _require_finite(loss: Tensor, step: int) -> None:
    if not bool(torch.isfinite(loss)):
        raise UserError(f"train: the loss is no finite number at step {step}; lower lr or raise tau of the method")


def zeros(*shape: int) -> Tensor:
    """Where a residual starts, so that the first step finds the features as they are; float32, to be trained."""
    return torch.zeros(*shape, requires_grad=True)


def array_of(tensor: Tensor) -> Array:
    """A trained tensor as a head holds it."""
    return np.array(tensor.detach().numpy())


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
