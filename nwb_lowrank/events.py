"""calcium_events: how many events the frames of a calcium recording hold, given the latents and the frame's own rise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaln

from .results import Fit, Posterior
from .trials import Trials

MOST = 8  # events a frame
ROUNDS = 60  # of expectation maximisation
SPARSE = 0.02  # mean rise, in noise sd, that a neuron without clear events starts with


@dataclass(frozen=True)
class Events:
    """Events of every neuron and frame.

    expected, probability : (B, T, N) E[k] and p(k > 0), given latents and the frame's rise; of the latents alone where a frame's or
    its predecessor's fluorescence is not known.  size : (N,) rise by one event, the trace's unit.
    """

    expected: np.ndarray
    probability: np.ndarray
    size: np.ndarray


@torch.no_grad()
def calcium_events(fit: Fit, trials: Trials, posterior: Posterior) -> Events:
    """Events under a fitted `Calcium` model.

    The model knows λ(z_t) up to a scale: α and λ trade. Events are whole numbers, and that tells the two apart. With γ and the latents
    of the fit, every neuron's rise is a Poisson mixture of normal distributions,

        y_t − γ y_{t−1} ~ Σ_k Poisson(k; c λ(z_t)) N(a k + b, s²),

    whose c, a, b and s are found by expectation maximisation on `trials`.

    Parameters
    ----------
    fit : Fit
        Of a model with `Calcium` observations.
    trials : Trials
        B trials of T frames and N neurons.
    posterior : Posterior
        Of these trials, with draws: `infer(fit, trials, keep_draws=True)`. Held-out neurons get events all the same.

    Returns
    -------
    Events

    Raises
    ------
    TypeError, ValueError
        Another observation model; a posterior without draws, or of other trials.

    Notes
    -----
    The AR(1) model of Vogelstein et al. 2010 has no noise of measurement. Where there is some, the fitted γ is too small and part of
    a transient is taken for noise: in simulations at three times the noise per event, events were ranked well and counted a third too few.
    """
    model = fit.model.observation
    if not hasattr(model, "events"):
        raise TypeError(f"calcium_events: expected a fit with Calcium observations; got {type(model).__name__}. Fit --observation calcium.")
    if posterior.draws is None or posterior.draws.shape[1:3] != trials.counts.shape[:2]:
        raise ValueError("calcium_events: expected the posterior of these trials with its draws. Use infer(fit, trials, keep_draws=True).")
    rate = sum(model.events(torch.as_tensor(draw)) for draw in posterior.draws).double().numpy() / len(posterior.draws)
    y, mask = np.where(trials.mask, trials.counts, 0.0), trials.mask
    known, rise = np.zeros(mask.shape, bool), np.zeros(y.shape)
    known[:, 1:] = mask[:, 1:] & mask[:, :-1]
    rise[:, 1:] = y[:, 1:] - model.decay.double().numpy() * y[:, :-1]
    scale, size, offset, noise = mixture(rise, rate, known)
    expected, _, none = _moments(rise, scale * rate, size, offset, noise)
    expected = np.where(known, expected, scale * rate)
    return Events(expected, np.where(known, 1 - none, -np.expm1(-scale * rate)), size)


def mixture(rise: np.ndarray, rate: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """c, a, b, s (N,) of rises (..., N) with rates (..., N), where `known`."""
    axes, weight = tuple(range(rise.ndim - 1)), known.astype(float)
    total, seen = np.maximum(weight.sum(axes), 1), np.where(known, rise, np.nan)
    silent = ~known.any(axes)
    offset = np.where(silent, 0.0, np.nanmedian(np.where(silent, 0.0, seen), axes))  # most frames have no event
    noise = np.maximum(1.4826 * np.nanmedian(np.where(silent, 0.0, abs(seen - offset)), axes), 1e-6)
    size, drive = 3 * noise, np.maximum((weight * rate).sum(axes) / total, 1e-12)
    scale = np.maximum((weight * (rise - offset)).sum(axes) / total, SPARSE * noise) / size / drive
    for _ in range(ROUNDS):
        first, second, _ = _moments(rise, scale * rate, size, offset, noise)
        k, kk = ((weight * part).sum(axes) / total for part in (first, second))
        x, xx, kx = ((weight * part).sum(axes) / total for part in (rise, rise**2, first * rise))
        size = np.maximum((kx - k * x) / np.maximum(kk - k**2, 1e-12), 1e-2 * noise)
        offset = x - size * k
        noise = np.sqrt(np.maximum(xx - 2 * (size * kx + offset * x) + size**2 * kk + 2 * size * offset * k + offset**2, 1e-12))
        scale = k / drive
    return scale, size, offset, noise


def _moments(rise, rate, size, offset, noise) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E[k], E[k²] and p(k = 0) given the rise."""
    log_rate, left = np.log(np.maximum(rate, 1e-12)), (rise - offset) / noise
    terms = [k * log_rate - gammaln(k + 1) - 0.5 * (left - size / noise * k) ** 2 for k in range(MOST + 1)]
    top = np.max(terms, axis=0)
    weights = [np.exp(term - top) for term in terms]
    total = sum(weights)
    return (sum(k * w for k, w in enumerate(weights)) / total, sum(k * k * w for k, w in enumerate(weights)) / total, weights[0] / total)
