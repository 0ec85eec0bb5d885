from __future__ import annotations

import pytest
import torch

from cache.errors import UserError
from stages.items import MODALITIES, unit
from stages.train.episode import space
from stages.train.loop import (
    by_seed,
    draw_batches,
    identity,
    one_hot,
    prepare,
    require_finite_weights,
    residual,
    train_residuals,
)
from stages.train.methods import gap
from tests.stages.train import build

SUPPORT = torch.arange(20) >= 15


@pytest.mark.parametrize("aligned", [True, False])
def test_a_batch_holds_unit_vectors(aligned):
    episode = build.fit_on(aligned=aligned)
    data = prepare(episode, space(episode), views=True)
    for m in MODALITIES:
        for values in (data.pooled[m], data.views[m]):
            assert values.norm(dim=-1).numpy() == pytest.approx(1, abs=1e-5)


def test_a_batch_has_the_share_of_supports_that_was_asked():
    section = build.gap_section(batch=10, support_share=0.3)
    for rows in draw_batches(SUPPORT, section, by_seed(0)):
        assert SUPPORT[rows].sum() == 3
        assert len(rows.unique()) == 10


def test_rows_repeat_only_where_there_are_fewer_than_are_wanted():
    section = build.gap_section(batch=16, support_share=0.5)
    for rows in draw_batches(SUPPORT, section, by_seed(0)):
        assert SUPPORT[rows].sum() == 8
        assert len(rows[~SUPPORT[rows]].unique()) == 8


def test_without_supports_all_of_a_batch_is_source():
    rows = next(draw_batches(torch.zeros(20, dtype=torch.bool), build.gap_section(batch=10), by_seed(0)))
    assert len(rows.unique()) == 10


def test_the_seed_alone_decides_the_batches():
    section = build.gap_section()
    drawn = [torch.stack(list(draw_batches(SUPPORT, section, by_seed(seed)))) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_shared_label_makes_one_class():
    episode = build.fit_on()
    data = prepare(episode, {}, views=False)
    labels = [*episode.items.labels[:-1], (*episode.items.labels[-1], episode.items.labels[0][0])]
    batch = data.take(torch.tensor([0, 1, len(labels) - 1]))
    several = one_hot(labels)[[0, 1, len(labels) - 1]].float()
    assert batch.same_class.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert (several @ several.T > 0).all()


def test_an_item_drawn_twice_is_not_distinct_from_itself():
    batch = prepare(build.fit_on(), {}, views=False).take(torch.tensor([3, 5, 3]))
    assert batch.distinct.tolist() == [[False, True, False], [True, False, True], [False, True, False]]


def test_training_without_steps_changes_nothing():
    data = prepare(build.fit_on(), {}, views=False)
    section = build.gap_section(steps=0)
    weights, curve = train_residuals(data, section, gap.objective(section), 0)
    assert curve == ()
    assert all((part == 0).all() for m in MODALITIES for part in weights[m].tensors().values())
    unmoved = residual(data.pooled["text"], *(torch.tensor(part) for part in weights["text"].tensors().values()))
    assert unmoved.numpy() == pytest.approx(data.pooled["text"].numpy(), abs=1e-6)


@pytest.mark.parametrize("hidden", [0, 9])
def test_a_residual_starts_as_the_identity_and_all_of_it_is_trained(hidden):
    data = prepare(build.fit_on(), {}, views=False)
    start = identity(build.WIDTH, hidden, torch.Generator().manual_seed(0))
    assert residual(data.pooled["text"], *start).detach().numpy() == pytest.approx(
        data.pooled["text"].numpy(), abs=1e-6
    )
    before, after = (
        train_residuals(data, section, gap.objective(section), 0)[0]["text"].tensors()
        for section in (build.gap_section(steps=n, hidden=hidden, lr=1e-2) for n in (0, 3))
    )
    assert len(before) == (4 if hidden else 2)
    assert all((before[name] != after[name]).any() for name in before)


def test_a_hidden_layer_starts_about_as_long_as_what_it_reads():
    _, _, weight, bias = identity(30, 4000, torch.Generator().manual_seed(0))
    x = torch.nn.functional.normalize(torch.randn(50, 30, generator=torch.Generator().manual_seed(1)), dim=1)
    assert torch.relu(x @ weight + bias).norm(dim=1).detach().numpy() == pytest.approx(1, abs=0.1)


def test_a_head_maps_as_its_training_did():
    data = prepare(build.fit_on(), {}, views=False)
    section = build.gap_section(hidden=6, lr=1e-2)
    for m, part in train_residuals(data, section, gap.objective(section), 0)[0].items():
        trained = residual(data.pooled[m], *(torch.tensor(values) for values in part.tensors().values()))
        assert unit(part(data.pooled[m].numpy())) == pytest.approx(trained.numpy(), abs=1e-6)


@pytest.mark.parametrize("shapes", [[(4, 3), (3, 3), (3,)], [(4, 3), (5, 3), (3,), (3, 5), (5,)]])
def test_gradients_of_a_residual_are_those_of_finite_differences(shapes):
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(*s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    assert torch.autograd.gradcheck(residual, values)


def test_training_uses_one_thread_and_leaves_the_number_as_it_was():
    data = prepare(build.fit_on(), {}, views=False)
    section, used = build.gap_section(steps=2), set()
    plain = gap.objective(section)

    def watched(batch, weights):
        used.add(torch.get_num_threads())
        return plain(batch, weights)

    torch.set_num_threads(2)
    train_residuals(data, section, watched, 0)
    after = torch.get_num_threads()
    torch.set_num_threads(1)
    assert (used, after) == ({1}, 2)


def test_a_loss_that_is_no_number_says_what_to_change():
    data = prepare(build.fit_on(), {}, views=False)
    section = build.gap_section(tau=1e-40)
    with pytest.raises(UserError, match=r"^train: the loss is no finite number at step \d; lower lr or raise tau"):
        train_residuals(data, section, gap.objective(section), 0)


def test_weights_that_leave_a_vector_without_a_length_are_refused() -> None:
    require_finite_weights([torch.full((2, 2), 1e18)])
    for wrong in (1e36, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"no usable numbers after the last step; lower lr of the method$"):
            require_finite_weights([torch.zeros(2), torch.full((2, 2), wrong)])


def test_a_training_that_blows_up_in_its_last_step_is_refused() -> None:
    section = build.gap_section(lr=1e36, steps=1)
    with pytest.raises(UserError, match="no usable numbers"):
        gap.fit(build.fit_on(), section, 0)
