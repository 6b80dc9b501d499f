"""The start of a fit: means matched, factors found, nothing leaked, dead neurons survived."""

import numpy as np
import pytest
import torch
from problems import generator, poisson_world, trials_of

from nwb_lowrank.filter import smc_filter
from nwb_lowrank.initialise import initialise, summarise
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.observations import Calcium, GaussianSignal, Poisson, ZeroInflatedGamma
from nwb_lowrank.proposals import Bootstrap, Encoder
from nwb_lowrank.readouts import MLP, Affine, UnitCurrents, UnitRates
from nwb_lowrank.trials import Trials

B, T, N, R = 60, 30, 12, 2


def factor_trials(seed=0, *, counts=True, silent=(), missing=0.0):
    """Neurons driven by R slow factors of unit variance: Trials and the loadings (N, R) in counts per bin."""
    rng = np.random.default_rng(seed)
    factors = np.zeros((B, T, R))
    factors[:, 0] = rng.normal(size=(B, R))
    for t in range(1, T):
        factors[:, t] = 0.95 * factors[:, t - 1] + np.sqrt(1 - 0.95**2) * rng.normal(size=(B, R))
    loadings, mean = 0.5 * rng.normal(size=(N, R)), rng.uniform(2.0, 4.0, N)
    rate = np.maximum(mean + factors @ loadings.T, 0.01)
    rate[..., list(silent)] = 0
    values = rng.poisson(rate) if counts else rate + 0.5 * rng.normal(size=rate.shape)
    mask = rng.uniform(size=values.shape) >= missing
    return Trials.from_arrays(values, bin_width=0.02, mask=mask), loadings


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_summary_means_are_those_of_the_recorded_bins(missing):
    trials, _ = factor_trials(missing=missing)
    summary = summarise(trials, R)
    values = np.where(trials.mask, trials.counts, np.nan)
    np.testing.assert_allclose(summary.mean, np.nanmean(values, (0, 1)), rtol=1e-6)  # float32 counts
    assert (summary.variance > 0).all()


def test_loadings_span_the_true_ones():
    """Factor analysis knows loadings up to a rotation: compare the spanned subspaces by their largest angle."""
    trials, truth = factor_trials()
    found = summarise(trials, R).loadings
    (q1, _), (q2, _) = np.linalg.qr(found), np.linalg.qr(truth)
    # 1,800 bins with few independent ones at a correlation time of 20 bins: about 15 degrees of sampling error
    assert np.linalg.svd(q1.T @ q2)[1].min() > np.cos(np.deg2rad(15))


def test_silent_and_constant_neurons_get_a_floor_and_no_loadings():
    trials, _ = factor_trials(silent=(3,))
    summary = summarise(trials, R)
    assert summary.mean[3] == 0.5 / (B * T)  # half a spike in the whole recording
    assert (summary.loadings[3] == 0).all()
    assert all(np.isfinite(part).all() for part in summary)


def test_held_out_neurons_never_enter_the_projection():
    """Their projection is 0, and whatever they fire moves no other neuron's statistics that the encoder uses."""
    trials, _ = factor_trials()
    summary = summarise(trials.hide([0, 5]), R)
    assert (summary.projection[[0, 5]] == 0).all()
    assert (np.abs(summary.projection[1:5]).max(1) > 0).all()


@pytest.mark.parametrize("counts, observation", [(True, Poisson()), (False, GaussianSignal())])
def test_initialised_model_matches_every_neurons_mean(counts, observation):
    trials, _ = factor_trials(counts=counts)
    model = LowRankRNN(rank=R, units=40, neurons=N, observation=observation)
    initialise(model, Bootstrap(), trials)
    z = torch.randn(50_000, R, generator=generator())  # factors are scaled to unit variance
    mean = trials.counts.mean((0, 1))
    # 2,000 draws balance the bias inside; factor-driven rates have a standard deviation below 1: 5 / sqrt(2000) = 0.11
    np.testing.assert_allclose(model.observation.mean(z).mean(0).detach(), mean, atol=0.11)


@pytest.mark.parametrize("silent", [(), (0, 7)])
@pytest.mark.parametrize("proposal", [Bootstrap(), Encoder(channels=8)])
def test_the_first_bound_beats_the_mean_rate_model(proposal, silent):
    trials, _ = factor_trials(silent=silent)
    model = LowRankRNN(rank=R, units=40, neurons=N)
    proposal.attach(model)
    initialise(model, proposal, trials)
    y, u = torch.tensor(trials.counts), torch.zeros(B, T, 0)
    seen = torch.ones(y.shape, dtype=torch.bool)
    with torch.no_grad():
        out = smc_filter(model, proposal, y, u, seen=seen, scored=seen, particles=32, generator=generator())
    rate = y.mean((0, 1)).clamp_min(1e-9)  # the best constant rates in hindsight
    null = torch.distributions.Poisson(rate).log_prob(y).sum()
    assert out.log_evidence.sum() > null


def test_one_trial_one_bin_gaps_and_inputs_do_not_break_it():
    counts = np.random.default_rng(0).poisson(1.0, (1, 12, 5)).astype(float)
    counts[0, 4:6] = np.nan
    trials = Trials.from_arrays(counts, bin_width=0.1, inputs=np.ones((1, 12, 2)))
    model = LowRankRNN(rank=2, units=4, neurons=5, inputs=2)
    proposal = Encoder(channels=4).attach(model)
    initialise(model, proposal, trials)
    values = [*model.state_dict().values(), *proposal.state_dict().values()]
    assert all(value.isfinite().all() for value in values)


@pytest.mark.parametrize("readout", [Affine, MLP, UnitCurrents, UnitRates])
@pytest.mark.parametrize("kind", [GaussianSignal, Calcium, ZeroInflatedGamma])
def test_every_readout_starts_at_the_neurons_means(kind, readout):
    """Signals that are also counts, a flat trace among them: the mean over z ~ N(0, I) is the neurons' mean, all else finite."""
    trials, _ = factor_trials(silent=(3,))
    model = LowRankRNN(rank=R, units=40, neurons=N, observation=kind(readout=readout()))
    encoder = Encoder(channels=4).attach(model)
    initialise(model, encoder, trials)
    assert all(value.isfinite().all() for value in [*model.state_dict().values(), *encoder.state_dict().values()])
    mean = model.observation.mean(torch.randn(50_000, R, generator=generator())).mean(0).detach()
    # as above; a readout of units follows the plane only so far, and what drives calcium has its own mean (first bins do not count)
    tight = readout in (Affine, MLP) and kind is not Calcium
    np.testing.assert_allclose(mean, trials.counts.mean((0, 1)), atol=0.11 if tight else 0.5)


def test_more_latents_than_neurons_start_with_those_that_there_are():
    trials, _ = factor_trials()
    model = LowRankRNN(rank=16, units=16, neurons=N, full=True)
    initialise(model, Bootstrap(), trials)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert (model.observation.loadings[:, N:] == 0).all() and (model.m == torch.eye(16)).all()


def test_initialise_is_a_function_of_its_arguments():
    """No global randomness is used or changed, and the trials stay as they are."""
    world = poisson_world()
    trials = trials_of(world)
    before = trials.counts.copy()
    states, generators = [], (torch.get_rng_state(), np.random.get_state()[1].copy())
    for seed in (1, 2):
        model = LowRankRNN(rank=2, units=6, neurons=8)
        initialise(model, Bootstrap(), trials)
        states.append(model.state_dict())
        if seed == 1:
            assert torch.equal(torch.get_rng_state(), generators[0])
            np.testing.assert_array_equal(np.random.get_state()[1], generators[1])
        torch.manual_seed(seed)
        np.random.seed(seed)
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states)))
    np.testing.assert_array_equal(trials.counts, before)
