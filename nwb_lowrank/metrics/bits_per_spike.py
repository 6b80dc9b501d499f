"""Co-smoothing and forward prediction: bits per spike for counts, R² for continuous signals."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from ..results import Score
from .base import Metric

SMALLEST_RATE = 1e-9  # the benchmark's stand-in for a predicted rate of 0


def bits_per_spike(rates, counts, mask=None, null=None) -> float:
    """How much better than constant rates a model predicts spikes (Pei et al. 2021, Neural Latents Benchmark).

    (log L(rates) − log L(null)) / (spikes · log 2) with Poisson likelihoods; the null model is every neuron's
    mean count over the evaluated entries themselves.

    Parameters
    ----------
    rates, counts : array (..., N)
        Expected and observed spikes per bin. Rates of 0 count as 1e-9.
    mask : bool array broadcastable to (..., N) or None
        Entries to evaluate.
    null : array (N,) or None
        Mean counts of the null model, where they are not those of the evaluated entries (bootstrap).

    Returns
    -------
    float
        Bits per spike; NaN without any spike.

    Raises
    ------
    ValueError
        Shapes differ, or an evaluated rate is negative or not finite.
    """
    gain, spikes = poisson_gain(rates, counts, mask, null)
    return float(gain / spikes / np.log(2)) if spikes else float("nan")


def poisson_gain(rates, counts, mask=None, null=None) -> tuple[float, float]:
    """log L(rates) − log L(null) in nats, and the number of spikes; parameters and errors as in `bits_per_spike`."""
    rates, counts, mask = _checked(rates, counts, mask)
    if (rates[mask] < 0).any():
        raise ValueError("bits_per_spike: rates must not be negative; got a negative rate. Pass expected spikes per bin.")
    counts = np.where(mask, counts, 0)
    rates = np.where(mask, _positive(rates), 1.0)
    null = np.broadcast_to(_positive(mean_count(counts, mask) if null is None else np.asarray(null, float)), rates.shape)
    gain = _log_likelihood(rates, counts)[mask].sum() - _log_likelihood(null, counts)[mask].sum()
    return float(gain), float(counts.sum())


def explained_variance(prediction, signal, mask=None, null=None) -> float:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)², pooled over neurons, with each neuron's mean ȳ over the evaluated entries (or `null`).

    Parameters and errors as in `bits_per_spike`.
    """
    prediction, signal, mask = _checked(prediction, signal, mask)
    error = np.where(mask, signal - prediction, 0) ** 2
    spread = np.where(mask, signal - (mean_count(signal, mask) if null is None else null), 0) ** 2
    return float(1 - error.sum() / spread.sum()) if spread.sum() > 0 else float("nan")


class Prediction(Metric):
    """Held-out neurons (co-smoothing) and forecast bins (forward prediction) of the test trials.

    Spikes: 'co-bps', 'fp-bps' (bits per spike). Continuous signals: 'co-R2', 'fp-R2'. As in the benchmark, co-smoothing
    leaves the forecast bins out, and forward prediction takes the forecast bins of all neurons.
    """

    def __call__(self, posterior, trials, split):
        test = split == "test"
        score, suffix = (bits_per_spike, "bps") if trials.is_counts else (explained_variance, "R2")
        last = np.arange(trials.bins) >= trials.bins - trials.forecast
        hidden = trials.held_out
        parts = {
            f"co-{suffix}": (~last[:, None] & hidden, f"{hidden.sum()} held-out neurons"),
            f"fp-{suffix}": (last[:, None] & np.ones_like(hidden), f"last {trials.forecast} bins, all neurons"),
        }
        scores = []
        for name, (entries, note) in parts.items():
            scored = trials.mask[test] & entries
            if scored.any():
                value = score(posterior.rates[test], trials.counts[test], scored)
                scores.append(Score(name, value, "test", trials.bin_width, f"{note}; {test.sum()} trials"))
        return scores


def _checked(rates, counts, mask):
    rates, counts = np.asarray(rates, float), np.asarray(counts, float)
    if rates.shape != counts.shape:
        raise ValueError(f"rates must have the shape of the counts {counts.shape}; got {rates.shape}. Cut both alike.")
    mask = np.broadcast_to(True if mask is None else np.asarray(mask, bool), counts.shape)
    if not np.isfinite(rates[mask]).all():
        raise ValueError("rates must be finite; got NaN or infinity in an evaluated entry. Mask it or predict it.")
    return rates, counts, mask


def _positive(rates: np.ndarray) -> np.ndarray:
    """Zeros, and nothing else, replaced as the benchmark does."""
    return np.where(rates == 0, SMALLEST_RATE, rates)


def mean_count(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N,) mean over the evaluated entries; 0 for a neuron without any."""
    axes = tuple(range(values.ndim - 1))
    return np.where(mask, values, 0).sum(axes) / np.maximum(mask.sum(axes), 1)


def _log_likelihood(rates: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts * np.log(rates) - rates - gammaln(counts + 1)
