"""Restarts and bootstrap on a world small enough to fit in seconds."""

import copy
import dataclasses

import numpy as np
import pytest
from problems import bytes_of, poisson_world, trials_of

import nwb_lowrank as nl
from nwb_lowrank.observations.base import Exp
from nwb_lowrank.searches import Newton

QUICK = nl.FitSettings(warm_rounds=4, warm_steps=5, steps=0, particles=8)
SEARCH = Newton(starts=100)


@pytest.fixture(scope="module")
def data():
    trials = trials_of(poisson_world(neurons=16, trials=40, rate=1.0, link=Exp())).hide([0, 5, 9])
    return trials.split((0.7, 0.3))


def build():
    return nl.LowRankRNN(rank=2, units=8, neurons=16, observation=nl.Poisson(Exp())), nl.Laplace()


@pytest.fixture(scope="module")
def found(data):
    return nl.restarts(build, *data, QUICK, seeds=[0, 1, 1], search=SEARCH, device="cpu")


def test_restarts_tell_spread_and_agreement(found):
    assert list(found.table["seed"]) == [0, 1] and len(found.outcomes) == 2
    assert {"bound", "co-bps", "decay", "points", "stable", "complete"} <= set(found.table)
    assert found.best == int(np.argmax(found.table["bound"]))
    (pair,) = found.agreement.to_dict("records")
    assert (pair["first"], pair["second"]) == (0, 1)
    assert pair["rates"] > 0.5 and pair["latents"] > 0.5 and pair["decay"] < 0.2  # the same data, hardly another start


def test_one_seed_cannot_agree(data):
    with pytest.raises(ValueError, match="at least two different seeds"):
        nl.restarts(build, *data, QUICK, seeds=[3, 3])


def test_bootstrap_of_the_score_surrounds_it(found, data):
    test = data[1]
    posterior = found.outcomes[0].posterior
    result = nl.bootstrap_score(posterior, test, repeats=200, seed=1)
    (row,) = result.table.to_dict("records")
    assert row["quantity"] == "co-bps" and row["low"] < row["estimate"] < row["high"] and len(result.draws) == 200
    assert row["estimate"] == pytest.approx(found.table["co-bps"][0])
    # against the analytic standard error of a ratio of sums is beyond 12 trials; half the trials must give a wider interval
    half = nl.bootstrap_score(_first(posterior, 6), test.select(slice(6)), repeats=200, seed=1).table["sd"][0]
    assert half > row["sd"]


def test_a_model_that_knows_the_means_scores_zero_in_every_draw(found, data):
    """The null model of a drawn set is that of all trials: else repeated trials flatter it, and scores are drawn too low."""
    test = data[1]
    mean = np.where(test.mask, test.counts, 0).sum((0, 1)) / test.mask.sum((0, 1))
    posterior = _first(found.outcomes[0].posterior, len(test))
    posterior = dataclasses.replace(posterior, rates=np.broadcast_to(mean, posterior.rates.shape))
    result = nl.bootstrap_score(posterior, test, repeats=50, seed=1)
    np.testing.assert_allclose(result.draws["co-bps"], 0, atol=1e-12)


def _first(posterior, size):
    from dataclasses import replace

    return replace(posterior, rates=posterior.rates[:size])


def test_refits_that_do_not_move_have_no_spread_and_leave_the_fit_alone(found, data):
    fit = found.outcomes[0].fit
    before = bytes_of(fit)
    still = nl.FitSettings(warm_rounds=1, warm_steps=1, warm_rate=1e-12, steps=0, validation=0.0, particles=4, averaging=0)
    told = []
    result = nl.bootstrap_fit(fit, data[0], None, still, repeats=2, search=SEARCH, device="cpu", on_repeat=lambda *x: told.append(x))
    assert np.allclose(result.table["sd"], 0, atol=1e-6) and told == [(1, 2), (2, 2)]
    assert len(result.table) == 1 + 2 * len(found.outcomes[0].points.points)
    assert bytes_of(fit) == before


def test_refits_move_with_the_drawn_trials(found, data):
    result = nl.bootstrap_fit(copy.deepcopy(found.outcomes[0].fit), *data, nl.FitSettings(**{**vars(QUICK), "warm_rounds": 1}), repeats=2,
                              search=SEARCH, device="cpu")  # fmt: skip
    table = result.table.set_index("quantity")
    assert table.loc["decay", "sd"] > 0 and "co-bps" in table.index


def test_wrong_calls_are_refused(found, data):
    with pytest.raises(ValueError, match="repeats must be at least 2"):
        nl.bootstrap_score(found.outcomes[0].posterior, data[1], repeats=1)
