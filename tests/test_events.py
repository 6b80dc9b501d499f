"""Events of calcium recordings."""

import numpy as np
import pytest
import torch

import nwb_lowrank as nl
from nwb_lowrank.results import Fit, FitSettings, Posterior

GAMMA, SIZE, NOISE, OFFSET = 0.9, np.array([0.3, 1.0, 5.0]), np.array([0.08, 0.2, 1.5]), np.array([0.0, 0.1, -1.0])


def world(B=200, T=60):
    """A calcium model that knows λ up to a scale, traces of whole events, the events, and where they were recorded."""
    rng = np.random.default_rng(0)
    model = nl.LowRankRNN(rank=1, units=4, neurons=3, observation=nl.Calcium(nl.Exp()))
    with torch.no_grad():
        model.observation.decay_logit.fill_(np.log(GAMMA / (1 - GAMMA)))
        model.observation.readout.loadings.fill_(1.0)
        model.observation.readout.bias.fill_(1.0)
    z = rng.normal(-2.5, 1.0, (B, T, 1)).astype(np.float32)
    k = rng.poisson(np.exp(np.broadcast_to(z, (B, T, 3))))  # λ of the model is e¹ times as much
    y, before = np.empty((B, T, 3)), rng.normal(0, 1, (B, 3))
    for t in range(T):
        y[:, t] = before = GAMMA * before + SIZE * k[:, t] + OFFSET + NOISE * rng.normal(size=(B, 3))
    mask = rng.random(y.shape) > 0.05
    posterior = Posterior(z, np.zeros_like(z), y, np.zeros(B), np.zeros((T, B)), draws=z[None], settings={})
    return Fit(model, nl.Bootstrap(), FitSettings(), 0, None), nl.Trials.from_arrays(y, bin_width=1 / 30, mask=mask), posterior, k


def test_events_are_found_in_traces_of_known_events():
    fit, trials, posterior, k = world()
    found = nl.calcium_events(fit, trials, posterior)
    np.testing.assert_allclose(found.size, SIZE, rtol=0.02)  # 1,400 events each, of noise up to 0.3 of a size: 5 standard errors
    known = trials.mask.copy()
    known[:, 0], known[:, 1:] = False, known[:, 1:] & known[:, :-1]
    for where in (known, ~known):
        n, missed = where.sum((0, 1)), ((found.expected - k) * where).sum((0, 1))
        assert (abs(missed) < 5 * np.sqrt((k * where).sum((0, 1)))).all(), n  # the number of events, within its Poisson error
    assert (abs(np.round(found.expected) - k)[known] < 0.5).mean() > 0.97
    event, p = k[known] > 0, found.probability[known]
    for low, high in ((0.05, 0.35), (0.35, 0.65), (0.65, 0.95)):  # calibrated: of frames with probability p, a share p has events
        some = (p > low) & (p < high)
        assert abs(event[some].mean() - p[some].mean()) < 5 * (0.25 / some.sum()) ** 0.5


def test_a_neuron_that_was_never_recorded_has_the_events_of_its_rate():
    fit, trials, posterior, _ = world(B=20)
    mask = trials.mask.copy()
    mask[..., 1] = False
    found = nl.calcium_events(fit, nl.Trials.from_arrays(trials.counts * mask, bin_width=1 / 30, mask=mask), posterior)
    assert np.isfinite(found.expected).all() and (found.expected >= 0).all()
    whole = nl.calcium_events(fit, trials, posterior)
    np.testing.assert_array_equal(found.expected[..., [0, 2]], whole.expected[..., [0, 2]])  # each neuron by itself


def test_other_models_and_posteriors_are_refused():
    fit, trials, posterior, _ = world(B=4)
    gaussian = Fit(nl.LowRankRNN(rank=1, units=4, neurons=3, observation=nl.GaussianSignal()), nl.Bootstrap(), FitSettings(), 0, None)
    with pytest.raises(TypeError, match="expected a fit with Calcium observations; got GaussianSignal"):
        nl.calcium_events(gaussian, trials, posterior)
    with pytest.raises(ValueError, match="keep_draws=True"):
        nl.calcium_events(fit, trials.select([0, 1]), posterior)
