"""Minibatches and segments: every trial once an epoch, every tensor cut alike."""

import numpy as np
import pytest
import torch

from nwb_lowrank.batches import generator_of, minibatch, segments, tensors
from nwb_lowrank.trials import Trials


def test_an_epoch_shows_every_trial_once_and_epochs_differ():
    rows = torch.arange(100, 112)
    epochs = [torch.cat([minibatch(rows, 4, 3 * epoch + step, seed=1) for step in range(3)]) for epoch in range(2)]
    assert all(torch.equal(epoch.sort().values, rows) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_a_batch_larger_than_the_data_is_all_of_it():
    rows = torch.arange(5)
    assert torch.equal(minibatch(rows, 32, 7, seed=0).sort().values, rows)


def test_randomness_is_a_function_of_seed_and_step():
    draw = lambda seed, step: torch.rand(4, generator=generator_of(seed, step, "cpu"))  # noqa: E731
    assert torch.equal(draw(1, 2), draw(1, 2))
    assert not torch.equal(draw(1, 2), draw(1, 3)) and not torch.equal(draw(1, 2), draw(2, 2))


@pytest.mark.parametrize("bins", [None, 10, 12])
def test_segments_that_cut_nothing_are_the_batch(bins):
    batch = [torch.zeros(3, 10, 2)]
    assert segments(batch, bins, generator_of(0, 0, "cpu")) is batch


def test_segments_are_contiguous_and_the_same_in_every_tensor():
    time = torch.arange(10).expand(50, 10)
    y, mask = segments([time[..., None].float(), time[..., None]], 4, generator_of(0, 0, "cpu"))
    assert y.shape == (50, 4, 1) and torch.equal(y.long(), mask)
    assert (mask[:, 1:, 0] - mask[:, :-1, 0] == 1).all()
    assert set(mask[:, 0, 0].tolist()) == set(range(7))  # 50 draws miss one of 7 starts with probability 7 (6/7)^50 < 0.004; seed fixed


def test_everything_recorded_is_scored_and_held_out_neurons_are_not_seen():
    mask = np.ones((2, 5, 3), bool)
    mask[1, 3:] = False
    trials = Trials.from_arrays(np.ones((2, 5, 3)), bin_width=0.1, mask=mask, held_out=[False, True, False]).forecast_last(1)
    y, u, seen, scored = tensors(trials, torch.zeros(1, dtype=torch.float64))
    assert y.dtype == torch.float64 and u.shape == (2, 5, 0)
    assert np.array_equal(scored, mask)
    assert not seen[..., 1].any() and not seen[:, -1].any() and seen[0, :4, 0].all()
