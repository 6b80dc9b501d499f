"""Known teachers: what is said of them is so."""

import numpy as np
import pytest
import torch

from nwb_lowrank.demo import write_session
from nwb_lowrank.sources.nwb import read_nwb
from nwb_lowrank.sources.synthetic import BIN_WIDTH, GAP, decision_teacher, random_teacher, simulate_session


def test_the_decision_teacher_has_the_fixed_points_that_its_formulas_say():
    teacher = decision_teacher().double()
    u = torch.zeros(3, 0, dtype=torch.float64)
    z = torch.tensor([[1.5, 9 / 14], [-1.5, -9 / 14], [0.0, 0.0]], dtype=torch.float64)
    # Parameters are float32: 0.92 and 0.12 are off by 6e-8, which 1/(1 - a) = 12.5 magnifies.
    np.testing.assert_allclose(teacher.step(z, u).detach(), z, atol=1e-6)
    jacobian = torch.autograd.functional.jacobian(lambda point: teacher.step(point, u[0]), z[2])
    # At the saddle ramp has slope 1: diag(0.92 + 0.12, 0.92 - 0.06) with 0.06 below the diagonal.
    np.testing.assert_allclose(jacobian.numpy(), [[1.04, 0], [0.06, 0.86]], atol=1e-6)


def test_a_session_spikes_at_its_rates():
    session = simulate_session(decision_teacher(), trials=100, seed=4)
    total, expected = session.trials.counts.sum((0, 1)), session.rates.sum((0, 1))
    # Given the latents each neuron's total is Poisson: 40 standard scores within 5 of 0.
    assert (np.abs(total - expected) < 5 * np.sqrt(expected)).all()


def test_spike_times_fall_in_the_bins_that_they_were_counted_in(tmp_path):
    session = simulate_session(decision_teacher(neurons=5), trials=10, seed=5)
    trials = session.trials
    for neuron, times in enumerate(session.spike_times):
        assert (np.diff(times) >= 0).all()
        edges = trials.starts[:, None] + np.arange(trials.bins + 1) * BIN_WIDTH
        counts = np.stack([np.histogram(times, row)[0] for row in edges])
        assert np.array_equal(counts, trials.counts[..., neuron])
    path = write_session(tmp_path / "session.nwb", session)
    again = read_nwb(path, bin_width=BIN_WIDTH, behavior="hand_velocity")
    assert np.array_equal(again.counts, trials.counts) and again.mask.all()
    np.testing.assert_allclose(again.starts, trials.starts)
    np.testing.assert_allclose(again.behavior, trials.behavior, rtol=1e-6, atol=1e-9)  # bin centres are where it was sampled


def test_trials_are_apart_and_conditions_balanced():
    trials = simulate_session(decision_teacher(), trials=20).trials
    np.testing.assert_allclose(np.diff(trials.starts), trials.bins * BIN_WIDTH + GAP)
    assert (np.bincount(trials.table["condition"]) == 5).all()


@pytest.mark.parametrize("make", [decision_teacher, random_teacher])
def test_same_seed_same_teacher(make):
    one, two, other = (make(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
