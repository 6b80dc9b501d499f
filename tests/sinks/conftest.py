"""A small recording with a small fit in it."""

import dataclasses

import numpy as np
import pytest

import nwb_lowrank as nl
from nwb_lowrank.demo import write_session
from nwb_lowrank.sources.synthetic import decision_teacher, simulate_session

QUICK = nl.FitSettings(steps=2, warm_rounds=1, warm_steps=1, warm_trials=8, particles=4, validate_every=1)


@pytest.fixture(scope="session")
def session():
    return simulate_session(decision_teacher(neurons=12), trials=20, bins=15, seed=3)


@pytest.fixture(scope="session")
def recorded(session, tmp_path_factory):
    return write_session(tmp_path_factory.mktemp("recording") / "session.nwb", session)


@pytest.fixture
def recording(recorded, tmp_path):
    """A copy that a test may spoil."""
    path = tmp_path / "session.nwb"
    path.write_bytes(recorded.read_bytes())
    return path


@pytest.fixture(scope="session")
def results(recorded):
    trials = nl.read_nwb(recorded, bin_width=0.02, behavior="hand_velocity").hide([1, 4]).forecast_last(3)
    return results_of(trials)


def results_of(trials, observation=None):
    """Results of a fit with hardly any training."""
    split = trials.split_labels(0.25, seed=0)
    model = nl.LowRankRNN(rank=2, units=6, neurons=trials.neurons, observation=observation or nl.Poisson(nl.Exp()))
    fit = nl.fit(model, nl.Encoder(channels=4, kernel=3), trials.select(split == "train"), QUICK, device="cpu")
    posterior = nl.infer(fit, trials, particles=8, draws=4, seed=1, device="cpu")
    scores = nl.evaluate(posterior, trials, split)
    return nl.Results(fit, trials, posterior, split, nl.find_fixed_points(fit.model), scores)


def assert_same(again: nl.Results, results: nl.Results) -> None:
    """Every field equal, bit for bit, in the bins that were recorded."""
    within = np.arange(results.trials.bins) < results.trials.lengths[:, None]
    for name in ("latents", "latents_sd", "rates"):
        new, old = getattr(again.posterior, name), getattr(results.posterior, name)
        assert new.dtype == old.dtype and np.array_equal(new[within], old[within]), name
    assert np.array_equal(again.posterior.ess[within.T], results.posterior.ess[within.T])
    assert np.array_equal(again.posterior.log_evidence, results.posterior.log_evidence)
    assert again.posterior.settings == results.posterior.settings
    for name in ("counts", "mask", "starts", "unit_ids", "held_out", "inputs"):
        assert np.array_equal(getattr(again.trials, name), getattr(results.trials, name)), name
    assert again.trials.forecast == results.trials.forecast and again.trials.bin_width == results.trials.bin_width
    assert again.trials.origin == results.trials.origin
    assert again.trials.table.equals(results.trials.table)
    assert list(again.split) == list(results.split)
    assert again.scores == results.scores
    assert again.fit.recipe() == results.fit.recipe()
    state, other = again.fit.state(), results.fit.state()
    assert list(state) == list(other) and all(np.array_equal(state[k], other[k]) and state[k].dtype == other[k].dtype for k in state)
    assert again.fit.history.equals(results.fit.history)
    for field in dataclasses.fields(nl.FixedPoints):
        new, old = getattr(again.fixed_points, field.name), getattr(results.fixed_points, field.name)
        assert np.array_equal(new, old) if isinstance(old, np.ndarray) else new == old, field.name
