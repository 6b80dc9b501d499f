"""Every metric of the folder: an oracle scores better than a null, inputs stay as they are, order of neurons does not matter."""

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from nwb_lowrank import metrics
from nwb_lowrank.families import members
from nwb_lowrank.metrics.base import Metric
from nwb_lowrank.trials import Trials

METRICS = members(metrics, Metric)


@pytest.fixture(params=METRICS)
def metric(request):
    return METRICS[request.param]()


@pytest.fixture(scope="module")
def world():
    """Trials whose rates and behaviour follow a condition and a phase, their true rates, and a split."""
    random = np.random.default_rng(0)
    B, T, N = 60, 20, 12
    condition = np.arange(B) % 3
    phase = np.linspace(0, np.pi, T) + condition[:, None]
    state = np.stack([np.sin(phase), np.cos(2 * phase)], -1)
    rates = np.exp(state @ random.normal(0, 0.8, (2, N)))
    trials = Trials.from_arrays(
        random.poisson(rates), bin_width=0.05, held_out=np.arange(N) >= 9, behavior=state + random.normal(0, 0.1, state.shape),
        behavior_names=("hand_vel_0", "hand_vel_1"), behavior_units=("m/s",) * 2, table=pd.DataFrame(dict(condition=condition)),
    ).forecast_last(3)  # fmt: skip
    return trials, rates, np.where(np.arange(B) % 4 == 0, "test", "train")


def posterior(rates):
    return SimpleNamespace(rates=rates)


def values(metric, rates, trials, split):
    return {score.metric: score.value for score in metric(posterior(rates), trials, split)}


def test_the_folder_has_the_benchmarks_metrics():
    assert {"bits_per_spike", "decoding", "psth"} <= set(METRICS)


# Generative scores what a model makes up, not rates: test_generative.py has its oracle and its null.
@pytest.mark.parametrize("metric", sorted(set(METRICS) - {"generative"}), indirect=True)
def test_true_rates_score_well_and_constant_rates_do_not(metric, world):
    trials, rates, split = world
    oracle = values(metric, rates, trials, split)
    null = values(metric, np.broadcast_to(rates.mean((0, 1)), rates.shape).copy(), trials, split)
    assert oracle
    for name in oracle:
        assert oracle[name] > 0.1 and null[name] < 0.02, name


def test_inputs_are_not_modified(metric, world):
    trials, rates, split = world
    before = [np.copy(getattr(trials, field.name)) for field in fields(trials) if isinstance(getattr(trials, field.name), np.ndarray)]
    given = rates.copy()
    metric(posterior(given), trials, split)
    after = [getattr(trials, field.name) for field in fields(trials) if isinstance(getattr(trials, field.name), np.ndarray)]
    assert np.array_equal(given, rates) and all(np.array_equal(a, b) for a, b in zip(before, after))


def test_the_order_of_neurons_does_not_matter(metric, world):
    trials, rates, split = world
    order = np.random.default_rng(1).permutation(trials.neurons)
    moved = replace(trials, counts=trials.counts[..., order], mask=trials.mask[..., order], held_out=trials.held_out[order])
    one, two = values(metric, rates, trials, split), values(metric, rates[..., order], moved, split)
    assert one.keys() == two.keys()
    np.testing.assert_allclose([*one.values()], [*two.values()], rtol=1e-6)  # sums in another order; ridge solvers amplify rounding


def test_every_score_says_what_it_is_of(metric, world):
    trials, rates, split = world
    for score in metric(posterior(rates), trials, split):
        assert score.split == "test" and score.bin_width == 0.05 and score.note and np.isfinite(score.value)


def test_the_training_trials_rates_do_not_enter_scores_without_a_decoder(world):
    trials, rates, split = world
    spoiled = np.where((split == "train")[:, None, None], 1.0, rates)
    for name in ("bits_per_spike", "psth"):
        assert values(METRICS[name](), rates, trials, split) == values(METRICS[name](), spoiled, trials, split)


def test_evaluate_is_all_of_them_and_needs_a_test_trial(world):
    trials, rates, split = world
    scores = metrics.evaluate(posterior(rates), trials, split)
    assert {s.metric for s in scores} >= {"co-bps", "fp-bps", "velocity-R2", "psth-R2"}
    with pytest.raises(ValueError, match="test"):
        metrics.evaluate(posterior(rates), trials, np.full(len(trials), "train"))


def test_trials_that_allow_no_score_give_none(metric):
    trials = Trials.from_arrays(np.ones((4, 5, 3)), bin_width=0.1)
    assert metric(posterior(np.ones((4, 5, 3))), trials, np.array(["train", "train", "test", "test"])) == []
