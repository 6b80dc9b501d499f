"""Peri-stimulus time histograms: does the model reproduce the mean response to every condition?"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..results import Score
from .base import Metric


def psth(values, mask, labels, conditions) -> np.ndarray:
    """(condition, T, N) mean over the trials of each condition; NaN where no trial was recorded.

    values : array (B, T, N);  mask : bool, broadcastable to it;  labels : (B,);  conditions : labels to average
    """
    mask = np.broadcast_to(mask, values.shape)
    means = np.full((len(conditions), *values.shape[1:]), np.nan)
    for row, condition in enumerate(conditions):
        chosen = labels == condition
        count = mask[chosen].sum(0)
        np.divide(np.where(mask[chosen], values[chosen], 0).sum(0), count, out=means[row], where=count > 0)
    return means


def psth_r2(truth, prediction) -> float:
    """R² of predicted PSTHs over conditions and bins, averaged over neurons (Pei et al. 2021).

    truth, prediction : array (condition, T, N); entries where either is NaN are left out, and so are neurons whose PSTH is flat.
    """
    known = np.isfinite(truth) & np.isfinite(prediction)
    count = np.maximum(known.sum((0, 1)), 1)
    mean = np.where(known, truth, 0).sum((0, 1)) / count
    spread = (np.where(known, truth - mean, 0) ** 2).sum((0, 1))
    error = (np.where(known, truth - prediction, 0) ** 2).sum((0, 1))
    alive = spread > 1e-12
    return float((1 - error[alive] / spread[alive]).mean()) if alive.any() else float("nan")


class PSTH(Metric):
    """'psth-R2': mean predicted rates of the test trials of each condition against the smoothed PSTH of all trials.

    Parameters
    ----------
    column : str or None
        Of the trial table; None takes the column that `Trials.conditions` finds.
    kernel : float
        Standard deviation of the Gaussian smoothing of the spikes, seconds (the benchmark uses 0.04–0.07).

    Notes
    -----
    As in the benchmark the true PSTH averages training and test trials. Trials must share their alignment: bins are compared by number.
    """

    def __init__(self, *, column: str | None = None, kernel: float = 0.07):
        self.column, self.kernel = column, kernel

    def __call__(self, posterior, trials, split):
        labels, name = trials.conditions(self.column)
        if labels is None:
            return []
        test = split == "test"
        conditions = np.unique(labels[test])
        truth = psth(smooth(trials.counts, trials.mask, self.kernel / trials.bin_width), trials.mask, labels, conditions)
        prediction = psth(posterior.rates[test], trials.mask[test], labels[test], conditions)
        note = f"{len(conditions)} conditions of '{name}', Gaussian kernel {self.kernel * 1e3:g} ms"
        return [Score("psth-R2", psth_r2(truth, prediction), "test", trials.bin_width, note)]


def smooth(values: np.ndarray, mask: np.ndarray, width: float) -> np.ndarray:
    """Gaussian smoothing along bins (standard deviation `width` bins) that masked bins neither feed nor dilute."""
    weight = gaussian_filter1d(np.broadcast_to(mask, values.shape).astype(float), width, axis=1, mode="constant")
    total = gaussian_filter1d(np.where(mask, values, 0).astype(float), width, axis=1, mode="constant")
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-6)
