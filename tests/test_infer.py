"""infer: the exact smoother on linear worlds, honest predictions, the same bytes for the same seed."""

import dataclasses
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from problems import exact, linear_world, poisson_world, randomise, repeat, state_space, trials_of, within

from nwb_lowrank.infer import infer
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.observations import Poisson, SpikeHistory
from nwb_lowrank.proposals import Bootstrap, Encoder, LinearGaussian
from nwb_lowrank.results import Fit, FitSettings
from nwb_lowrank.trials import Trials

ARRAYS = ("latents", "latents_sd", "rates", "log_evidence", "ess")


def fit_of(world, proposal=None):
    """A fit that never trained: infer must be right for any parameters."""
    return Fit(world.model, proposal or Bootstrap(), FitSettings(), 0, pd.DataFrame())


def encoder_fit(world):
    return fit_of(world, randomise(Encoder(channels=4, kernel=3).attach(world.model), scale=0.1))


def same_bits(first, second):
    return all(getattr(first, name).tobytes() == getattr(second, name).tobytes() for name in ARRAYS)


@pytest.mark.parametrize("marginal", [False, True])
def test_latents_rates_and_evidence_are_the_exact_smoothers(marginal):
    """The same trial 40 times: independent filters whose spread gives the standard error."""
    world, K = linear_world(), 300
    truth, (C, d) = exact(world), state_space(world.model, world.u[0])[5:7]
    many = repeat(world, 40)
    posterior = infer(
        fit_of(world, LinearGaussian()), trials_of(many), particles=K, draws=100, batch_size=40, device="cpu", marginal=marginal
    )
    # float32 data in, float64 inside; the smoother's bias is O(1/K) at variances of about 1
    within(posterior.latents, truth.mean, allowance=3 / K)
    within(posterior.rates, truth.mean @ C.T + d, allowance=6 / K)
    # 100 draws: a variance estimate around their own mean is short by 1 %
    within(posterior.latents_sd**2, truth.cov.diagonal(axis1=1, axis2=2), allowance=3 / K + 0.01)
    within(np.exp(posterior.log_evidence - truth.log_evidence), 1.0, allowance=1e-4)


def test_held_out_neurons_and_forecast_bins_are_predicted_from_the_rest():
    """Co-smoothing and forecasting: rates equal the exact conditional mean given only what is seen."""
    world, K = linear_world(missing=0.0), 300
    trials = trials_of(repeat(world, 40)).hide([1]).forecast_last(2)
    truth = exact(world, mask=torch.as_tensor(trials.seen[:1]))
    C, d = state_space(world.model, world.u[0])[5:7]
    posterior = infer(fit_of(world), trials, particles=K, draws=100, batch_size=40, device="cpu")
    within(posterior.rates, truth.mean @ C.T + d, allowance=6 / K)
    within(np.exp(posterior.log_evidence - truth.log_evidence), 1.0, allowance=1e-4)


@pytest.mark.parametrize("hidden", ["held-out neurons", "forecast bins", "gaps"])
def test_nothing_unseen_changes_a_bit(hidden):
    world = poisson_world()
    trials = trials_of(world)
    if hidden == "held-out neurons":
        trials = trials.hide([0, 3])
    elif hidden == "forecast bins":
        trials = trials.forecast_last(4)
    else:
        mask = np.random.default_rng(0).uniform(size=trials.counts.shape) > 0.3
        trials = dataclasses.replace(trials, mask=mask)
    counts = np.where(trials.seen, trials.counts, np.random.default_rng(1).poisson(20.0, trials.counts.shape))
    assert not np.array_equal(counts, trials.counts)
    settings = dict(particles=16, draws=8, device="cpu")
    first, second = (infer(encoder_fit(world), dataclasses.replace(trials, counts=c), **settings) for c in (trials.counts, counts))
    assert same_bits(first, second)
    shown = counts.copy()
    shown[:, 0, 5] += 3
    assert not same_bits(first, infer(encoder_fit(world), dataclasses.replace(trials, counts=shown), **settings))


def test_the_seed_decides_and_nothing_else_is_touched():
    world = poisson_world()
    fitted, trials = encoder_fit(world), trials_of(world)
    before = {name: value.tobytes() for name, value in fitted.state().items()}
    counts, state = trials.counts.copy(), torch.get_rng_state()
    first, again, other = (infer(fitted, trials, particles=16, draws=8, seed=seed, device="cpu") for seed in (1, 1, 2))
    assert same_bits(first, again) and not same_bits(first, other)
    assert {name: value.tobytes() for name, value in fitted.state().items()} == before
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(trials.counts, counts)
    assert first.settings == dict(particles=16, draws=8, repeats=1, seed=1, batch_size=32, marginal=False)


def test_batches_are_independent_looks_at_the_same_posterior():
    """Another batch size draws other noise, and nothing more: evidence stays unbiased, means agree within their errors."""
    world = linear_world()
    truth, trials = exact(world), trials_of(repeat(world, 60))
    for batch_size in (7, 60):
        posterior = infer(fit_of(world, LinearGaussian()), trials, particles=100, draws=50, batch_size=batch_size, device="cpu")
        within(np.exp(posterior.log_evidence - truth.log_evidence), 1.0, allowance=1e-4)
        within(posterior.latents, truth.mean, allowance=3 / 100)
        assert posterior.ess.shape == (6, 60) and (posterior.ess >= 1).all() and (posterior.ess <= 100 + 1e-6).all()


def test_kept_draws_are_what_the_summaries_summarise():
    world = poisson_world()
    posterior = infer(encoder_fit(world), trials_of(world), particles=16, draws=8, repeats=3, batch_size=5, keep_draws=True, device="cpu")
    assert posterior.draws.shape == (24, 12, 15, 2)
    tolerance = dict(atol=1e-4, rtol=1e-4)  # float32 sums of 24 draws; a variance as a difference of squares
    np.testing.assert_allclose(posterior.draws.mean(0), posterior.latents, **tolerance)
    np.testing.assert_allclose(posterior.draws.var(0), posterior.latents_sd**2, **tolerance)
    with torch.no_grad():
        rates = world.model.observation.mean(torch.as_tensor(posterior.draws)).mean(0)
    np.testing.assert_allclose(rates, posterior.rates, **tolerance)


def test_repeats_shrink_the_error_as_independent_filters_do():
    """Log-evidence over 400 equal trials: the spread of means of 4 filters is half that of single ones."""
    world = linear_world()
    trials = trials_of(repeat(world, 400))
    spread = [infer(fit_of(world), trials, particles=20, draws=1, repeats=repeats, batch_size=400, device="cpu").log_evidence.std()
              for repeats in (1, 4)]  # fmt: skip
    # a ratio of two standard deviations of 400 values each: relative error about sqrt(2 / 800) = 0.05; heavy tails double it
    assert spread[1] / spread[0] == pytest.approx(0.5, abs=5 * 0.05)


def test_progress_is_told_per_batch():
    told = []
    world = poisson_world()
    infer(encoder_fit(world), trials_of(world), particles=4, draws=2, batch_size=5, device="cpu", on_batch=lambda *a: told.append(a))
    assert told == [(number + 1, math.ceil(12 / 5)) for number in range(3)]


def test_trials_of_another_size_are_refused_with_the_mend():
    with pytest.raises(ValueError, match="expects 8 neurons; the trials have 5. Build it with neurons="):
        infer(encoder_fit(poisson_world()), trials_of(poisson_world(neurons=5)), device="cpu")


def test_draws_walked_together_are_draws_walked_alone(monkeypatch):
    """A model with memory goes bin by bin: with many trajectories at once for speed, which changes no more than rounding."""
    model = randomise(
        LowRankRNN(rank=2, units=4, neurons=3, observation=Poisson(history=SpikeHistory(bins=3, basis=2))), scale=0.1
    ).double()
    trials = Trials.from_arrays(np.random.default_rng(0).poisson(0.5, (3, 6, 3)), bin_width=0.02)
    fitted, rates = Fit(model, Bootstrap(), FitSettings(), 0, pd.DataFrame()), []
    for entries in (2**23, 2 * 3 * 6 * 3, 1):
        monkeypatch.setattr(sys.modules["nwb_lowrank.infer"], "ENTRIES", entries)
        rates.append(infer(fitted, trials, particles=20, draws=5).rates)
    for others in rates[1:]:
        np.testing.assert_allclose(others, rates[0], rtol=1e-12)
