"""The losses of the trained heads: tensors in, one scalar out (GCRDP, arXiv 2505.13306; CMM,
arXiv 2412.20110; DESIGN section 6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stages.train.params import Positives, ThetaKind


class Distance(NamedTuple):
    """L_RDP with what is worth watching: the mask's density and the mean |D_v - D_t| off the diagonal."""

    loss: Tensor
    density: Tensor
    drift: Tensor


def multi_positive(logits: Tensor, positive: Tensor, candidate: Tensor, positives: Positives) -> Tensor:
    """InfoNCE with several positives an anchor, averaged over the anchors that have one.

    logits (A, C) already divided by the temperature; positive (A, C) bool; candidate (A, C) bool, what stands in
    the denominator, positives among it. `out`: mean over the positives of -log softmax; `in`: -log of the mean
    over the positives of the softmax. An anchor without a positive adds nothing; 0 where no anchor has one."""
    anchors = positive.any(dim=1)
    if not bool(anchors.any()):
        return logits.sum() * 0  # still a part of the graph, so that no caller has to ask
    logits, positive, candidate = logits[anchors], positive[anchors], candidate[anchors]
    log_prob = logits - logits.masked_fill(~candidate, -torch.inf).logsumexp(1, keepdim=True)
    count = positive.sum(1)
    if positives == "out":
        return -(log_prob.masked_fill(~positive, 0).sum(1) / count).mean()
    return -(log_prob.masked_fill(~positive, -torch.inf).logsumexp(1) - count.to(logits.dtype).log()).mean()


def contrast_components(views: Tensor, live: Tensor, same_class: Tensor, tau: float, positives: Positives) -> Tensor:
    """L_GC of one modality: an item's components attract each other and repel those of other items.

    views (B, K, d) unit vectors; live (B, K) bool, False where a component is dead and only repeats another;
    same_class (B, B) bool. Positives of a component are the other live ones of its item, negatives the live ones
    of items of other classes; those of other items of its own class are masked out (ours)."""
    size, components, width = views.shape
    flat = views.reshape(size * components, width)
    item = torch.arange(size, device=views.device).repeat_interleave(components)
    alive = live.reshape(-1)
    pair = alive[:, None] & alive[None, :]
    own = item[:, None] == item[None, :]
    positive = pair & own & ~torch.eye(len(flat), dtype=torch.bool, device=views.device)
    negative = pair & ~same_class[item][:, item] & ~own
    return multi_positive(flat @ flat.T / tau, positive, positive | negative, positives)


def contrast_pairs(similarity: Tensor, positive: Tensor, tau: float, positives: Positives) -> Tensor:
    """L_reg: InfoNCE from image to text and from text to image, averaged (ours: the paper names the term only).

    similarity (B, B), images in rows; positive (B, B) bool symmetric, the diagonal and pairs of one class."""
    everything = torch.ones_like(positive)
    to_text = multi_positive(similarity / tau, positive, everything, positives)
    to_image = multi_positive(similarity.T / tau, positive.T, everything, positives)
    return (to_text + to_image) / 2


def mixed_similarity(pooled: tuple[Tensor, Tensor], views: tuple[Tensor, Tensor]) -> Tensor:
    """1/2 zbar_v . zbar_t + 1/2 max_kj z^v_k . z^t_j of all items, (B, B): the reading `mix` (ours)."""
    return (pooled[0] @ pooled[1].T + best_match(*views)) / 2


def best_match(images: Tensor, texts: Tensor) -> Tensor:
    """max_kj z^v_k . z^t_j, (B, C), of views (B, K, d) and (C, J, d)."""
    rows, columns = images.shape[:2], texts.shape[:2]
    products = images.flatten(0, 1) @ texts.flatten(0, 1).T
    return products.view(*rows, *columns).amax(dim=(1, 3))


def relative_distance(images: Tensor, texts: Tensor, distinct: Tensor, theta: float, kind: ThetaKind) -> Distance:
    """L_RDP: pairs that are close in one modality shall be as close in the other.

    images, texts (B, d) unit vectors, S^m = x^m x^m^T (the paper's D_v, D_t); distinct (B, B) bool, False where
    both are the same item. M = distinct and (S^v > theta or S^t > theta); the loss is
    sum M (S^v - S^t)^2 / max(1, sum M). With kind = `quantile` the threshold of each matrix is the theta-quantile
    of its distinct pairs, without gradient (ours)."""
    of_images, of_texts = images @ images.T, texts @ texts.T
    bounds = [threshold(matrix, distinct, theta, kind) for matrix in (of_images, of_texts)]
    mask = distinct & ((of_images > bounds[0]) | (of_texts > bounds[1]))
    apart = of_images - of_texts
    loss = (apart.square() * mask).sum() / mask.sum().clamp(min=1)
    with torch.no_grad():
        pairs = distinct.sum().clamp(min=1)
        return Distance(loss, mask.sum() / pairs, (apart.abs() * distinct).sum() / pairs)


def threshold(matrix: Tensor, distinct: Tensor, theta: float, kind: ThetaKind) -> Tensor | float:
    """theta itself, or the theta-quantile of a matrix over its distinct pairs, without gradient."""
    if kind == "absolute" or not bool(distinct.any()):
        return theta
    values = matrix.detach()[distinct].sort().values  # torch.quantile refuses more than 2^24 of them
    place = theta * (len(values) - 1)
    low = int(place)
    return torch.lerp(values[low], values[min(low + 1, len(values) - 1)], place - low)


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean over the items of -log softmax of their class; logits (B, C), classes (B, C) bool.

    (ours) An item of several classes counts once, with the mean over them; one of no class adds nothing."""
    return multi_positive(logits, classes, torch.ones_like(classes), "out")


def triplet(values: Tensor, prototypes: Tensor, classes: Tensor, margin: float) -> Tensor:
    """[m + |v - t_y| - min_{c != y} |v - t_c|]_+ averaged over the items: its own class nearer than any other (CMM).

    values (B, d), prototypes (C, d), classes (B, C) bool. (ours) An item of several classes counts once, with the mean
    over them, and none of them is among its other classes; one of no class or of every class adds nothing."""
    # exact differences: by way of the dot product a small distance is rounding, and its gradient has no bound
    apart = torch.cdist(values, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = apart.masked_fill(classes, torch.inf).amin(dim=1, keepdim=True)
    own = ((margin + apart - nearest).relu() * classes).sum(1) / classes.sum(1).clamp(min=1)
    return own.sum() / classes.any(dim=1).sum().clamp(min=1)
