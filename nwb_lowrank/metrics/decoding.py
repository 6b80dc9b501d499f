"""Behaviour read out of predicted rates by ridge regression."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.linalg import LinAlgWarning

from ..results import Score
from .base import Metric

ALPHAS = np.logspace(-4, 0, 9)  # the benchmark's grid
FOLDS = 5  # the benchmark's unshuffled cross-validation


def decoding_r2(train_rates, train_behavior, test_rates, test_behavior, *, alpha: float | None = None) -> float:
    """R² of behaviour decoded from rates, averaged over behaviour columns (Pei et al. 2021).

    Parameters
    ----------
    train_rates, test_rates : array (samples, N)
    train_behavior, test_behavior : array (samples, C)
    alpha : float or None
        Ridge penalty; None chooses it from 10⁻⁴…1 by 5-fold cross-validation on the training samples.

    Raises
    ------
    ValueError
        Fewer training samples than folds.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV

    if alpha is None and len(train_rates) < FOLDS:
        raise ValueError(f"decoding_r2: cross-validation needs at least {FOLDS} training samples; got {len(train_rates)}. Pass alpha=.")
    decoder = GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=FOLDS) if alpha is None else Ridge(alpha=alpha)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # rates of a low-rank model are nearly collinear: ridge is there for that
        return float(decoder.fit(train_rates, train_behavior).score(test_rates, test_behavior))


class Decoding(Metric):
    """'velocity-R2' (or '<name>-R2') of the behaviour in the trials, decoder fitted on training trials, scored on test trials.

    Parameters
    ----------
    alpha : float or None
        As in `decoding_r2`.

    Notes
    -----
    Columns of one series share its name up to the last underscore (hand_vel_0, hand_vel_1) and make one score.
    """

    def __init__(self, *, alpha: float | None = None):
        self.alpha = alpha

    def __call__(self, posterior, trials, split):
        if trials.behavior is None:
            return []
        known = trials.behavior_mask & trials.mask.any(-1)
        train, test = known & (split == "train")[:, None], known & (split == "test")[:, None]
        if train.sum() < FOLDS or test.sum() < 2:
            return []
        scores = []
        for name, columns in _series(trials.behavior_names).items():
            target = trials.behavior[..., columns]
            if (target[train].std(0) > 0).all() and (target[test].std(0) > 0).all():
                value = decoding_r2(posterior.rates[train], target[train], posterior.rates[test], target[test], alpha=self.alpha)
                note = f"{name}, ridge on rates, {train.sum()} training and {test.sum()} test bins"
                scores.append(Score(_metric_name(name), value, "test", trials.bin_width, note))
        return scores


def _series(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Column indices by series name."""
    series: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        stem, _, last = name.rpartition("_")
        series.setdefault(stem if stem and last.isalnum() and len(last) <= 2 else name, []).append(index)
    return series


def _metric_name(series: str) -> str:
    """The benchmark's name for any velocity."""
    return "velocity-R2" if "vel" in series.lower() else f"{series}-R2"
