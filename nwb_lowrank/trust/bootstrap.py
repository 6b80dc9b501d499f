"""bootstrap: how sure are the score and the eigenvalues? Both by drawing trials with replacement."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..fit import fit
from ..fixed_points import find_fixed_points
from ..infer import infer
from ..results import Fit, FitSettings, Posterior
from ..searches.base import Dynamics, refine
from ..trials import Trials
from .scores import co_name, co_smoothing

REFIT = FitSettings(initialise=False, warm_rounds=100, warm_rate=3e-3, steps=0, validation=0.0)


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Bootstrap distributions.

    Parameters
    ----------
    table : DataFrame
        One row a quantity: estimate (of the fit itself), low and high (percentiles of the level), sd, repeats.
    draws : DataFrame
        One row a repeat.
    """

    table: pd.DataFrame
    draws: pd.DataFrame


def bootstrap_score(posterior: Posterior, trials: Trials, *, repeats: int = 1000, level: float = 0.95, seed: int = 0) -> Uncertainty:
    """Co-smoothing with the fit as it is: what other test trials would have given.

    Parameters
    ----------
    posterior : Posterior
        Of the test trials, rates (B, T, N) in expected counts per bin.
    trials : Trials
        The same B test trials.
    repeats : int
    level : float
        Share of the repeats between low and high.
    seed : int

    Returns
    -------
    Uncertainty
        Of 'co-bps' (bits per spike) or 'co-R2'.

    Raises
    ------
    ValueError
        repeats or level out of range.
    """
    _check(repeats, level)
    random = np.random.default_rng(seed)
    size = len(trials)
    draws = pd.DataFrame({co_name(trials): [co_smoothing(posterior, trials, random.integers(size, size=size)) for _ in range(repeats)]})
    return Uncertainty(_summary(draws, {co_name(trials): co_smoothing(posterior, trials)}, level), draws)


def bootstrap_fit(
    fitted: Fit,
    train: Trials,
    test: Trials | None = None,
    settings: FitSettings = REFIT,
    *,
    repeats: int = 20,
    level: float = 0.95,
    search=None,
    seed: int = 0,
    device: str = "auto",
    on_repeat: Callable[[int, int], None] | None = None,
) -> Uncertainty:
    """Decay, eigenvalues at every fixed point, and co-smoothing under refits to trials drawn with replacement.

    Parameters
    ----------
    fitted : Fit
        Each refit starts from it, so that its fixed points can be followed; it is left as it is.
    train : Trials
        That it was fitted to.
    test : Trials or None
        Drawn with replacement too, for co-smoothing; None: not scored.
    settings : FitSettings
        Of the refits; `initialise` is ignored (False).
    repeats, level, seed, device
    search : Search or None
        Of the fixed points of `fitted`.
    on_repeat : function(done, total) or None

    Raises
    ------
    ValueError
        repeats or level out of range, or trials that the model cannot explain.
    FitDiverged
        A refit did not stay finite.

    Returns
    -------
    Uncertainty
        Quantities 'decay', 'point i |λj|' (modulus of eigenvalue j at fixed point i) and 'co-bps' or 'co-R2'. A fixed point that a
        refit has lost is missing there: `repeats` of the table counts those that kept it.
    """
    _check(repeats, level)
    random = np.random.default_rng(seed)
    points = find_fixed_points(fitted.model, search=search).points
    estimate = {**_dynamics(fitted.model, points), **_score(fitted, test, None, device)}
    rows = []
    for number in range(repeats):
        drawn = train.select(random.integers(len(train), size=len(train)))
        model, proposal = copy.deepcopy(fitted.model), copy.deepcopy(fitted.proposal)
        refit = fit(model, proposal, drawn, replace(settings, initialise=False), seed=seed + number, device=device)
        rows.append({**_dynamics(refit.model, points), **_score(refit, test, random, device)})
        if on_repeat:
            on_repeat(number + 1, repeats)
    draws = pd.DataFrame(rows)
    return Uncertainty(_summary(draws, estimate, level), draws)


def _dynamics(model, points: np.ndarray) -> dict[str, float]:
    """Decay, and the eigenvalues at the fixed points to which `points` lead; NaN where one is gone (or has joined another)."""
    values = {"decay": float(model.decay.detach())}
    dynamics = Dynamics.of(model)
    found, verified = refine(dynamics, points)
    spectra = np.sort(np.abs(np.linalg.eigvals(dynamics.jacobian(found))), 1)[:, ::-1] if len(points) else []
    for i, moduli in enumerate(spectra):
        alone = verified[i] and not any(np.linalg.norm(found[i] - other) < 1e-6 for other in np.delete(found, i, 0))
        values.update({f"point {i} |λ{j}|": float(modulus) if alone else np.nan for j, modulus in enumerate(moduli)})
    return values


def _score(fitted: Fit, test: Trials | None, random, device: str) -> dict[str, float]:
    if test is None or not test.held_out.any():
        return {}
    rows = slice(None) if random is None else random.integers(len(test), size=len(test))
    return {co_name(test): co_smoothing(infer(fitted, test, device=device), test, rows)}


def _summary(draws: pd.DataFrame, estimate: dict, level: float) -> pd.DataFrame:
    tail = (1 - level) / 2
    return pd.DataFrame(
        dict(quantity=name, estimate=value, low=draws[name].quantile(tail), high=draws[name].quantile(1 - tail), sd=draws[name].std(),
             repeats=int(draws[name].notna().sum()))
        for name, value in estimate.items()
    )  # fmt: skip


def _check(repeats: int, level: float) -> None:
    if repeats < 2 or not 0 < level < 1:
        raise ValueError(f"bootstrap: repeats must be at least 2 and level between 0 and 1; got {repeats} and {level}. Leave them out.")
