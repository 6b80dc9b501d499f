"""Spike history: it repairs the inter-spike intervals of neurons that are refractory or burst, where the plain model cannot."""

import numpy as np
import pytest
import torch
from problems import generator

from nwb_lowrank.observations import Bernoulli, SpikeHistory
from nwb_lowrank.observations.history import raised_cosines

BINS = 15


def cv(y) -> float:
    """Coefficient of variation of the intervals within trials (B, T), in bins."""
    intervals = np.concatenate([np.diff(np.flatnonzero(trial)) for trial in y])
    return intervals.std() / intervals.mean()


def simulated(kind, trials=60, bins=400):
    """A neuron at a constant drive: silent for 5 bins after a spike, or likely to spike again at once."""
    random, y = np.random.default_rng(0), np.zeros((trials, bins))
    for t in range(bins):
        recent = y[:, max(0, t - 5) : t].any(1) if t else np.zeros(trials, bool)
        just = y[:, t - 1] > 0 if t else recent
        p = np.where(recent, 0.0, 0.15) if kind == "refractory" else np.where(just, 0.6, 0.02)
        y[:, t] = random.uniform(size=trials) < p
    return torch.tensor(y[..., None])


def fitted(y, history):
    """Maximum likelihood of bias and history weights at z = 0 (plus the weak prior), by Newton-like steps on everything at once."""
    model = Bernoulli(history=history).attach(1, 1).double()
    model.initialise(y.mean((0, 1)).numpy(), np.zeros((1, 1)), np.ones(1))
    past, mask = model.remember(y, torch.ones_like(y) > 0), torch.ones_like(y) > 0
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def objective():
        optimizer.zero_grad()
        z = y.new_zeros(1, y.shape[0] * y.shape[1], 1)
        value = -model.log_prob(y.flatten(0, 1), z, mask.flatten(0, 1), None if past is None else past.flatten(0, 1)).sum()
        value = value - model.log_prior()
        value.backward()
        return value

    optimizer.step(objective)
    return model


@pytest.mark.parametrize("kind", ["refractory", "bursty"])
def test_interval_statistics_are_repaired(kind):
    y = simulated(kind)
    true, generated = cv(y.numpy()[..., 0]), {}
    for name, history in (("plain", None), ("history", SpikeHistory(bins=BINS, basis=6))):
        model = fitted(y, history)
        draws = model.sample_path(y.new_zeros(60, 400, 1), generator(1)).detach().numpy()
        generated[name] = cv(draws[..., 0])
        assert draws.mean() == pytest.approx(float(y.mean()), rel=0.15)  # both get the rate right
    # 60 trials of 400 bins hold over 1,000 intervals: a coefficient of variation is known to about 3 %
    assert generated["history"] == pytest.approx(true, rel=0.12)
    assert abs(generated["plain"] - true) > 2 * abs(generated["history"] - true)
    assert abs(generated["plain"] - true) > 0.2


def test_the_basis_reaches_back_as_far_as_it_says():
    basis = raised_cosines(20, 5)
    assert basis.shape == (5, 20) and (basis >= 0).all() and (basis.amax(1) == 1).all()
    assert (basis.sum(0) > 0.3).all()  # no lag is left out
    assert basis[0, 0] == 1 and basis[-1, -1] > 0.9
    with pytest.raises(ValueError, match="basis must lie between 1 and bins; got basis=4, bins=3"):
        SpikeHistory(bins=3, basis=4)


def test_filters_say_what_a_spike_does():
    """One spike, nothing typical: η moves by the filter, lag by lag."""
    history = SpikeHistory(bins=6, basis=3).attach(1).double()
    with torch.no_grad():
        history.weights.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
    y = torch.zeros(1, 9, 1, dtype=torch.float64)
    y[0, 1] = 1
    moved = history(history.remember(y, torch.ones_like(y) > 0))[0, :, 0]
    torch.testing.assert_close(moved[2:8], history.filters()[0], atol=1e-12, rtol=0)
    assert (moved[:2] == 0).all() and moved[8] == 0
