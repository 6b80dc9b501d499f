"""restarts: the same fit from several seeds, with the spread of its scores and what the fits agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ..fit import fit
from ..fixed_points import find_fixed_points
from ..infer import infer
from ..results import Fit, FitSettings, FixedPoints, Posterior
from ..trials import Trials
from .agreement import agreement
from .scores import bound, co_name, co_smoothing


@dataclass(frozen=True, eq=False)
class Outcome:
    """One restart: its fit, the posterior of the trials that it was scored on, and its fixed points."""

    fit: Fit
    posterior: Posterior
    points: FixedPoints


@dataclass(frozen=True, eq=False)
class Restarts:
    """Fits of the same trials from several seeds.

    Parameters
    ----------
    outcomes : tuple of Outcome
    table : DataFrame
        One row a seed: bound (nats per bin and trial of the scored trials), co-smoothing, decay, numbers of fixed points.
    agreement : DataFrame
        One row a pair of seeds, columns of `agreement`.
    best : int
        Position in `outcomes` of the largest bound.
    """

    outcomes: tuple[Outcome, ...]
    table: pd.DataFrame
    agreement: pd.DataFrame
    best: int


def restarts(
    build: Callable[[], tuple],
    train: Trials,
    test: Trials,
    settings: FitSettings = FitSettings(),
    *,
    seeds: Sequence[int] = (0, 1, 2),
    search=None,
    device: str = "auto",
    on_step: Callable | None = None,
    on_seed: Callable[[int, int, dict], None] | None = None,
) -> Restarts:
    """Fit `train` once a seed and compare the fits on `test`.

    Parameters
    ----------
    build : function() -> (model, proposal)
        New objects at every call.
    train, test : Trials
    settings : FitSettings
    seeds : sequence of int
        At least two different ones.
    search : Search or None
        Of the fixed points, as in `find_fixed_points`.
    device : str
    on_step : function of Progress, or None
    on_seed : function(done, total, row) or None

    Returns
    -------
    Restarts

    Raises
    ------
    ValueError
        Fewer than two different seeds.

    Notes
    -----
    A seed changes minibatches, noise and the choice of validation trials; the start is computed from the data, so that restarts
    measure how much the optimisation and its noise leave open.
    """
    seeds = list(dict.fromkeys(seeds))
    if len(seeds) < 2:
        raise ValueError(f"restarts: at least two different seeds are needed to compare; got {seeds}. Name more.")
    outcomes, rows = [], []
    for seed in seeds:
        model, proposal = build()
        fitted = fit(model, proposal, train, settings, seed=seed, device=device, on_step=on_step)
        outcome = Outcome(fitted, infer(fitted, test, seed=0, device=device), find_fixed_points(fitted.model, search=search))
        outcomes.append(outcome)
        rows.append({"seed": seed, **_row(outcome, test)})
        if on_seed:
            on_seed(len(rows), len(seeds), rows[-1])
    pairs = [{"first": seeds[i], "second": seeds[j], **agreement(outcomes[i], outcomes[j])} for i, j in combinations(range(len(seeds)), 2)]
    table = pd.DataFrame(rows)
    return Restarts(tuple(outcomes), table, pd.DataFrame(pairs), int(np.argmax(table["bound"])))


def _row(outcome: Outcome, test: Trials) -> dict:
    values = {"bound": bound(outcome.posterior, test)}
    if test.held_out.any():
        values[co_name(test)] = co_smoothing(outcome.posterior, test)
    points = outcome.points
    return {**values, "decay": float(outcome.fit.model.decay.detach()), "points": len(points.points), "stable": int(points.stable.sum()),
            "complete": points.complete}  # fmt: skip
