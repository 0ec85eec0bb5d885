"""The linear probe: logistic regression on the pictures of the supports, no name and no text (Radford et al. 2021)."""

from __future__ import annotations

from stages.heads.classifier import ClassHead
from stages.train.episode import TrainEpisode
from stages.train.logistic import chosen_logistic
from stages.train.params import ProbeSection
from stages.train.shots import about_of, shots_of


def fit(episode: TrainEpisode, section: ProbeSection, seed: int) -> ClassHead:  # noqa: ARG001
    """The classifier whose L2 serves the validation rows best. Pictures stay where their own tower puts them."""
    shots = shots_of(episode, shared=False)
    found, chosen = chosen_logistic(shots, shots.pictures, shots.members, section)
    return ClassHead(about_of(episode, "linear_probe", section, shots.classes, chosen=chosen), {}, *found.arrays)
