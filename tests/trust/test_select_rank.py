"""The one-standard-error rule on tables, and the rank of a known world."""

import numpy as np
import pandas as pd
import pytest
from problems import poisson_world, trials_of

import nwb_lowrank as nl
from nwb_lowrank.observations.base import Exp
from nwb_lowrank.trust.select_rank import _choose, within_fold_error

QUICK = nl.FitSettings(warm_rounds=6, warm_steps=10, steps=0, particles=8)


def table(scores):
    """Rank × fold, long."""
    return pd.DataFrame([dict(rank=r, fold=f, bound=v) for r, row in scores.items() for f, v in enumerate(row)])


def test_the_smallest_rank_within_one_standard_error_of_the_best():
    found = _choose(table({1: [0, 1, 2], 2: [5, 6.5, 6.8], 3: [5.3, 6.0, 7.2], 4: [5.1, 6.2, 7.0]}), "bound")
    assert found.rank == 2 and list(found.table["within"]) == [False, True, True, True]
    assert found.table["bound"].iloc[2] == pytest.approx(np.mean([5.3, 6.0, 7.2]))


def test_what_a_fold_does_to_all_ranks_alike_is_no_error():
    values = pd.DataFrame(np.array([[0.0], [10], [-7]]) + [1.0, 2, 3])
    assert np.allclose(within_fold_error(values), 0)
    one = pd.DataFrame([[1.0], [2], [4]])
    assert within_fold_error(one)[0] == pytest.approx(np.std([1, 2, 4], ddof=1) / 3**0.5)


def test_within_fold_error_is_right_on_average():
    """Independent unit errors under a large common one: the standard error of a mean of 8 is 1/√8, within 5 standard errors."""
    random = np.random.default_rng(0)
    values = random.normal(0, 20, (300, 8, 1)) + random.normal(size=(300, 8, 3))
    found = np.array([within_fold_error(pd.DataFrame(v)) ** 2 for v in values])
    assert abs(found.mean() - 1 / 8) < 5 * found.mean(1).std() / 300**0.5


def build(trials):
    def make(rank):
        return nl.LowRankRNN(rank=rank, units=8, neurons=trials.neurons, observation=nl.Poisson(Exp())), nl.Laplace()

    return make


def test_two_dimensions_are_found_to_be_two():
    """Weakly noisy world: rank 1 is clearly worse, and what rank 3 could add is noise."""
    trials = trials_of(poisson_world(neurons=24, trials=60, rate=1.5, link=Exp(), seed=3)).hide(range(0, 24, 6))
    told = []
    found = nl.select_rank(build(trials), trials, [3, 1, 2], QUICK, folds=2, on_fold=lambda *x: told.append(x), device="cpu")
    assert found.by == "co-bps" and list(found.table["rank"]) == [1, 2, 3] and len(found.folds) == 6
    assert found.table["co-bps"][1] > found.table["co-bps"][0] and found.rank == 2
    assert [x[:2] for x in told] == [(n, 6) for n in range(1, 7)]
    again = nl.select_rank(build(trials), trials, [2], QUICK, folds=2, device="cpu")
    assert again.folds["bound"].tolist() == found.folds.query("rank == 2")["bound"].tolist()


@pytest.mark.parametrize("ranks, folds, words", [([], 3, "ranks must lie"), ([0], 3, "ranks must lie"), ([99], 3, "got \\[99\\]"),
                                                 ([1], 1, "folds must be at least 2")])  # fmt: skip
def test_wrong_calls_are_refused(ranks, folds, words):
    trials = trials_of(poisson_world(trials=4))
    with pytest.raises(ValueError, match=words):
        nl.select_rank(build(trials), trials, ranks, QUICK, folds=folds)
