"""Each metric against its definition, its null and its oracle."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import poisson

from nwb_lowrank.metrics import evaluate
from nwb_lowrank.metrics.bits_per_spike import bits_per_spike, explained_variance
from nwb_lowrank.metrics.decoding import decoding_r2
from nwb_lowrank.metrics.psth import psth, psth_r2, smooth
from nwb_lowrank.results import Posterior
from nwb_lowrank.trials import Trials


@pytest.fixture
def world():
    """Poisson counts of known rates, two conditions, behaviour linear in the log rates."""
    random = np.random.default_rng(0)
    B, T, N = 60, 25, 12
    condition = np.arange(B) % 2
    z = np.cumsum(random.normal(0, 0.3, (B, T, 2)), 1) + np.where(condition, 1.0, -1.0)[:, None, None]
    rates = np.exp(z @ random.normal(0, 0.4, (2, N)) - 0.5)
    counts = random.poisson(rates)
    velocity = np.log(rates) @ random.normal(0, 1, (N, 2))
    trials = Trials.from_arrays(
        counts, bin_width=0.02, table=pd.DataFrame(dict(condition=condition)), behavior=velocity,
        behavior_names=("hand_vel_0", "hand_vel_1"),
    )  # fmt: skip
    return trials.hide([2, 5, 7]).forecast_last(5), rates


def posterior_of(rates):
    B, T, _ = rates.shape
    return Posterior(np.zeros((B, T, 2)), np.zeros((B, T, 2)), rates, np.zeros(B), np.ones((T, B)))


def values(scores):
    return {score.metric: score.value for score in scores}


def test_bits_per_spike_is_the_difference_of_poisson_log_likelihoods(world):
    trials, rates = world
    null = np.broadcast_to(trials.counts.mean((0, 1)), rates.shape)
    gain = poisson.logpmf(trials.counts, rates).sum() - poisson.logpmf(trials.counts, null).sum()
    expected = gain / trials.counts.sum() / np.log(2)
    assert bits_per_spike(rates, trials.counts) == pytest.approx(expected, rel=1e-6)  # the null is a float32 mean here


def test_the_null_model_scores_zero_and_anything_constant_less(world):
    trials, rates = world
    null = np.broadcast_to(trials.counts.astype(float).mean((0, 1)), rates.shape)
    assert bits_per_spike(null, trials.counts) == pytest.approx(0, abs=1e-12)  # rounding only
    assert bits_per_spike(null * 1.1, trials.counts) < 0
    assert explained_variance(null, trials.counts) == pytest.approx(0, abs=1e-12)


def test_true_rates_beat_distorted_rates(world):
    trials, rates = world
    best = bits_per_spike(rates, trials.counts)
    assert best > 0
    assert all(bits_per_spike(rates**power, trials.counts) < best for power in (0.5, 1.5))


def test_masked_entries_do_not_count(world):
    trials, rates = world
    mask = np.random.default_rng(1).random(rates.shape) < 0.7
    spoiled = np.where(mask, rates, np.nan)
    kept = [bits_per_spike(rates[..., n][mask[..., n]][:, None], trials.counts[..., n][mask[..., n]][:, None]) for n in range(12)]
    spikes = [trials.counts[..., n][mask[..., n]].sum() for n in range(12)]
    assert bits_per_spike(spoiled, trials.counts, mask) == pytest.approx(np.average(kept, weights=spikes), rel=1e-6)


def test_a_zero_rate_counts_as_the_benchmarks_smallest_and_the_argument_stays():
    rates, counts = np.array([[0.0], [1.0]]), np.array([[1.0], [1.0]])
    expected = (np.log(1e-9) - 1e-9 - 1 - (-2.0)) / 2 / np.log(2)  # null: mean 1 in both bins
    assert bits_per_spike(rates, counts) == pytest.approx(expected, rel=1e-12)
    assert rates[0, 0] == 0


@pytest.mark.parametrize("bad, message", [(np.ones((2, 2)), "shape"), (np.array([[-1.0]]), "negative"), (np.array([[np.nan]]), "finite")])
def test_bad_rates_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        bits_per_spike(bad, np.ones((1, 1)))


def test_no_spikes_give_no_number():
    assert np.isnan(bits_per_spike(np.ones((3, 1)), np.zeros((3, 1))))


def test_decoding_recovers_linear_behaviour_and_its_null_is_zero():
    random = np.random.default_rng(0)
    x, weights = random.normal(size=(400, 6)), random.normal(size=(6, 2))
    y = x @ weights + 3.0
    assert decoding_r2(x[:300], y[:300], x[300:], y[300:]) > 1 - 1e-6  # the smallest ridge of the grid biases by ~alpha/n
    noise = random.normal(size=(400, 6))
    null = decoding_r2(noise[:300], y[:300], noise[300:], y[300:])
    assert -0.2 < null < 0.05  # 6 useless regressors on 300 samples cost about 6/300; the mean of 100 test samples is off by 1/100


def test_psth_is_the_mean_over_recorded_trials():
    random = np.random.default_rng(0)
    x, mask, labels = random.normal(size=(20, 7, 3)), random.random((20, 7, 3)) < 0.8, np.arange(20) % 3
    out = psth(x, mask, labels, [0, 1, 2])
    for c, t, n in np.ndindex(3, 7, 3):
        assert out[c, t, n] == pytest.approx(x[labels == c, t, n][mask[labels == c, t, n]].mean())


def test_psth_r2_of_itself_is_one_and_of_the_mean_zero():
    truth = np.random.default_rng(0).normal(size=(4, 10, 5))
    assert psth_r2(truth, truth) == 1
    assert psth_r2(truth, np.broadcast_to(truth.mean((0, 1)), truth.shape)) == pytest.approx(0, abs=1e-12)


def test_smoothing_keeps_constants_beside_masked_bins():
    mask = np.ones((1, 20, 1), bool)
    mask[0, 12:] = False
    assert np.allclose(smooth(np.where(mask, 3.0, 99.0), mask, 2.0)[mask], 3.0)


def test_evaluate_scores_test_trials_hidden_neurons_and_forecast_bins_only(world):
    trials, rates = world
    split = np.where(np.arange(60) < 40, "train", "test")
    scores = values(evaluate(posterior_of(rates), trials, split))
    assert set(scores) == {"co-bps", "fp-bps", "velocity-R2", "psth-R2"}
    hidden = [2, 5, 7]
    assert scores["co-bps"] == pytest.approx(bits_per_spike(rates[40:, :20, hidden], trials.counts[40:, :20, hidden]))
    assert scores["fp-bps"] == pytest.approx(bits_per_spike(rates[40:, 20:], trials.counts[40:, 20:]))
    other = rates.copy()
    other[:40] *= 3  # training trials do not enter the predictions' scores
    other[40:, :20, [0, 1]] *= 3  # nor do shown neurons
    again = values(evaluate(posterior_of(other), trials, split))
    assert again["co-bps"] == scores["co-bps"] and again["fp-bps"] == scores["fp-bps"]


def test_evaluate_gives_what_the_trials_allow(world):
    trials, rates = world
    plain = Trials.from_arrays(trials.counts, bin_width=0.02)
    assert evaluate(posterior_of(rates), plain, np.full(60, "test")) == ()
    with pytest.raises(ValueError, match="at least one trial must be 'test'"):
        evaluate(posterior_of(rates), plain, np.full(60, "train"))


def test_continuous_signals_get_r2(world):
    trials, rates = world
    signal = Trials.from_arrays(rates - 1, bin_width=0.02).hide([0])
    scores = values(evaluate(posterior_of(rates - 1), signal, np.full(60, "test")))
    assert scores == {"co-R2": pytest.approx(1.0)}


def test_the_benchmarks_own_functions_agree(world):
    nlb = pytest.importorskip("nlb_tools.evaluation", reason="pip install --no-deps nlb_tools, to compare with the benchmark itself")
    trials, rates = world
    counts, velocity = trials.counts.astype(float), trials.behavior
    assert bits_per_spike(rates, counts) == pytest.approx(nlb.bits_per_spike(rates, counts), rel=1e-9)
    flat = [x.reshape(-1, x.shape[-1]) for x in (rates[:40], velocity[:40], rates[40:], velocity[40:])]
    assert decoding_r2(*flat) == pytest.approx(nlb.fit_and_eval_decoder(*flat), rel=1e-9)
    truth = psth(counts, trials.mask, trials.table["condition"].to_numpy(), [0, 1])
    index = [np.flatnonzero(trials.table["condition"] == c) for c in (0, 1)]
    prediction = psth(rates, trials.mask, trials.table["condition"].to_numpy(), [0, 1])
    assert psth_r2(truth, prediction) == pytest.approx(nlb.eval_psth(truth, rates, index), rel=1e-9)
