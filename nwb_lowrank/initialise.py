"""A model that already explains mean rates and main covariance, from the data."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from sklearn.decomposition import FactorAnalysis

from .trials import Trials

SMOOTHING = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0)  # candidate kernel widths, bins
MAX_ROWS = 10_000  # neighbouring bins repeat each other: more rows cost time and change nothing


class Summary(NamedTuple):
    """What the data say before any fit.

    mean, variance : (N,) per bin
    loadings : (N, R) of factor analysis on smoothed activity; factors have unit variance
    projection : (N, R) factor estimate per unit of standardised activity, 0 for held-out neurons
    factors : (B, T, R) smoothed factor estimates from all neurons
    recorded : (B, T) bool, bins with any recorded neuron
    width : float
        Standard deviation of the smoothing kernel, bins.
    """

    mean: np.ndarray
    variance: np.ndarray
    loadings: np.ndarray
    projection: np.ndarray
    factors: np.ndarray
    recorded: np.ndarray
    width: float


def summarise(trials: Trials, rank: int) -> Summary:
    """Means, factor loadings and smoothed factors of `trials`.

    Silent neurons get a floored mean and no loadings.
    """
    counts, mask = trials.counts.astype(float), trials.mask
    recorded = np.maximum(mask.sum((0, 1)), 1)
    mean = counts.sum((0, 1)) / recorded
    variance = (np.where(mask, counts - mean, 0) ** 2).sum((0, 1)) / recorded
    floor = 0.5 / recorded if trials.is_counts else 0.0  # half a spike in the whole recording
    scale = np.sqrt(np.maximum(variance, 1e-8))
    standard = np.where(mask, (counts - mean) / scale, 0)
    width = _best_width(standard, mask)
    smooth = _smooth(standard, mask, width)
    rows = mask.any(-1)
    samples = smooth[rows]
    sample = np.random.default_rng(0).permutation(len(samples))[:MAX_ROWS]
    analysis = FactorAnalysis(min(rank, trials.neurons), svd_method="lapack").fit(samples[sample])
    loadings = np.pad(analysis.components_.T, ((0, 0), (0, max(0, rank - trials.neurons))))  # a full-rank model may have more latents
    noise = np.maximum(analysis.noise_variance_, 1e-3)
    loadings[variance <= 0] = 0
    factors = smooth @ _posterior_weights(loadings, noise)
    shown = ~trials.held_out
    projection = np.zeros_like(loadings)
    projection[shown] = _posterior_weights(loadings[shown], noise[shown])
    unexplained = np.maximum(variance - ((loadings * scale[:, None]) ** 2).sum(1), 0.05 * variance + 1e-6)
    return Summary(np.maximum(mean, floor), unexplained, loadings * scale[:, None], projection, factors, rows, width)


def initialise(model, proposal, trials: Trials, summarised=summarise) -> None:
    """Set `model` and `proposal` in place so that the first epoch already beats the mean-rate model.

    Observation: bias at the inverse link of the floored mean rate, loadings from
    factor analysis divided by the link's slope, then the bias corrected so that
    the mean still matches. Dynamics: ridge regression of the smoothed factors'
    next value on φ(m z) with random m. Proposal: the factor estimate, at a
    precision near zero. `summarised(trials, rank)` says what the data say: `summarise`, or that of several sessions.
    """
    y, mask = torch.tensor(trials.counts).to(model.m), torch.tensor(trials.mask)
    model.observation.tune(y, mask)
    y, mask = (part.cpu().numpy() for part in model.observation.activity(y, mask))
    if not np.array_equal(y, trials.counts):  # activity below 0 or between whole numbers: no counts
        trials = replace(trials, counts=y, mask=mask)
    summary = summarised(trials, model.rank)
    model.observation.initialise(summary.mean, summary.loadings, summary.variance)
    _initialise_dynamics(model, summary)
    proposal.initialise(summary, trials)


@torch.no_grad()
def _initialise_dynamics(model, summary: Summary) -> None:
    pairs = summary.recorded[:, 1:] & summary.recorded[:, :-1]
    before, after = summary.factors[:, :-1][pairs], summary.factors[:, 1:][pairs]
    begun = summary.recorded.any(1)
    first = summary.factors[begun, summary.recorded[begun].argmax(1)]
    model.initial_mean.copy_(torch.as_tensor(first.mean(0)))
    model.initial_noise.set(
        torch.as_tensor(np.cov(first.T).reshape(model.rank, -1) + 0.1 * np.eye(model.rank)) if len(first) > 1 else torch.eye(model.rank)
    )
    z, target = (torch.as_tensor(x).to(model.m) for x in (before, after))
    zero = z.new_zeros(len(z), model.inputs)
    features = model.nonlinearity(z @ model.m.mT)
    wanted = target - model.step(z, zero)  # n starts at 0, so this is what the recurrence must add to a·z
    ridge = 0.01 * len(z) * torch.eye(model.units).to(features)
    n = torch.linalg.solve(features.mT @ features + ridge, features.mT @ wanted).mT
    model.n.copy_(n)
    residual = (target - model.step(z, zero)).T.double()
    model.noise.set(residual @ residual.T / residual.shape[1] + 0.01 * torch.eye(model.rank))


def _posterior_weights(loadings: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """(N, R): factor posterior mean per unit of standardised activity."""
    weighted = loadings / noise[:, None]
    return weighted @ np.linalg.inv(np.eye(loadings.shape[1]) + loadings.T @ weighted)


def _smooth(values: np.ndarray, mask: np.ndarray, width: float) -> np.ndarray:
    """Gaussian smoothing along bins that neither uses nor is diluted by masked bins."""
    weight = gaussian_filter1d(mask.astype(float), width, axis=1, mode="constant")
    total = gaussian_filter1d(np.where(mask, values, 0), width, axis=1, mode="constant")
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-6)


def _best_width(standard: np.ndarray, mask: np.ndarray) -> float:
    """The kernel whose smoothed activity, its own bin left out, predicts each bin best.

    The population mean over neurons of squared error is used; a narrower kernel wins ties.
    """
    errors = []
    for width in SMOOTHING:
        impulse = np.zeros(2 * int(4 * width + 0.5) + 1)
        impulse[len(impulse) // 2] = 1
        centre = gaussian_filter1d(impulse, width, mode="constant").max()
        weight = gaussian_filter1d(mask.astype(float), width, axis=1, mode="constant") - centre * mask
        total = gaussian_filter1d(standard, width, axis=1, mode="constant") - centre * standard
        guess = np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-6)
        errors.append(float((np.where(mask, standard - guess, 0) ** 2).sum()))
    return SMOOTHING[int(np.argmin(errors))]
