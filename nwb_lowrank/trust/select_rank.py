"""select_rank: how many latent dimensions the recording supports, by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..fit import fit
from ..infer import infer
from ..results import FitSettings
from ..trials import Trials, split_indices
from .scores import bound, co_name, co_smoothing


@dataclass(frozen=True, eq=False)
class RankSelection:
    """What cross-validation says about the rank.

    Parameters
    ----------
    rank : int
        The smallest rank whose mean score is within one standard error of the best.
    by : str
        The score that decided: 'co-bps' or 'co-R2' with held-out neurons, else 'bound'.
    table : DataFrame
        One row a rank: mean and standard error over the folds of 'bound' (log-evidence of the shown neurons of unseen trials, nats per
        bin and trial) and of co-smoothing, and 'within', True where the decisive score is within one standard error of the best.
    folds : DataFrame
        One row a rank and fold.
    """

    rank: int
    by: str
    table: pd.DataFrame
    folds: pd.DataFrame


def select_rank(
    build: Callable[[int], tuple],
    trials: Trials,
    ranks: Sequence[int],
    settings: FitSettings = FitSettings(),
    *,
    folds: int = 5,
    seed: int = 0,
    device: str = "auto",
    on_step: Callable | None = None,
    on_fold: Callable[[int, int, dict], None] | None = None,
) -> RankSelection:
    """Fit every rank on all folds but one, score it on that one, and recommend the smallest rank that is as good as the best.

    Parameters
    ----------
    build : function(rank) -> (model, proposal)
        New objects at every call.
    trials : Trials
        With held-out neurons marked (`Trials.hide`), co-smoothing decides; without, the bound.
    ranks : sequence of int
    settings : FitSettings
    folds : int
        At least 2; every fold gets a random share of the trials.
    seed : int
        Of the folds and of every fit.
    device : str
    on_step : function of Progress, or None
        As in `fit`.
    on_fold : function(done, total, row) or None
        After every fit, with its row of `folds`.

    Returns
    -------
    RankSelection

    Raises
    ------
    ValueError
        No rank, ranks below 1 or above the number of neurons, fewer than 2 folds, or fewer trials than folds.

    Notes
    -----
    Folds differ in difficulty for all ranks alike. The standard errors are therefore of the scores less their fold's mean over the
    ranks, times √(ranks / (ranks − 1)) (Cousineau 2005; Morey 2008); with one rank they are those of the plain scores.
    """
    ranks = _checked(ranks, trials, folds)
    parts = split_indices(len(trials), [1 / folds] * folds, seed)
    rows = []
    for number, test in enumerate(parts):
        train = np.setdiff1d(np.arange(len(trials)), test)
        unseen = trials.select(test)
        for rank in ranks:
            model, proposal = build(rank)
            fitted = fit(model, proposal, trials.select(train), settings, seed=seed, device=device, on_step=on_step)
            posterior = infer(fitted, unseen, seed=seed, device=device)
            rows.append({"rank": rank, "fold": number, "bound": bound(posterior, unseen), co_name(trials): co_smoothing(posterior, unseen)})
            if on_fold:
                on_fold(len(rows), len(ranks) * folds, rows[-1])
    scores = pd.DataFrame(rows)
    by = co_name(trials) if trials.held_out.any() else "bound"
    return _choose(scores, by)


def _checked(ranks, trials: Trials, folds: int) -> list[int]:
    ranks = sorted(set(ranks))
    if not ranks or ranks[0] < 1 or ranks[-1] > trials.neurons:
        raise ValueError(f"select_rank: ranks must lie between 1 and the number of neurons ({trials.neurons}); got {ranks}. Name others.")
    if folds < 2:
        raise ValueError(f"select_rank: folds must be at least 2; got {folds}. Each is scored by fits to the others.")
    return ranks


def _choose(scores: pd.DataFrame, by: str) -> RankSelection:
    """The one-standard-error rule on a table of rank × fold."""
    table = pd.DataFrame({"rank": sorted(scores["rank"].unique())}).set_index("rank")
    for name in scores.columns.drop(["rank", "fold"]):
        values = scores.pivot(index="fold", columns="rank", values=name)
        if values.isna().to_numpy().all():
            continue
        table[name] = values.mean()
        table[f"{name} SE"] = within_fold_error(values)
    best = table[by].idxmax()
    table["within"] = table[by] >= table[by][best] - table[f"{by} SE"][best]
    return RankSelection(int(table.index[table["within"]].min()), by, table.reset_index(), scores)


def within_fold_error(values: pd.DataFrame) -> pd.Series:
    """Standard error of each column's mean over the rows, what a row does to all columns alike taken away."""
    ranks, folds = values.shape[1], len(values)
    if ranks == 1:
        return values.std() / folds**0.5
    centred = values.sub(values.mean(axis=1), axis=0)
    return centred.std() / folds**0.5 * (ranks / (ranks - 1)) ** 0.5
