"""Lyapunov exponents by repeated QR factorisation (Benettin et al. 1980), with standard errors."""

from __future__ import annotations

import numpy as np

from ..searches.base import Dynamics
from .base import Spectrum
from .orbits import step

SMALLEST = 1e-300  # an exponent of a direction that is lost in one step: ln of this, not −inf


def lyapunov(dynamics: Dynamics, start: np.ndarray, *, steps: int = 4000, transient: int = 500, blocks: int = 10) -> list[Spectrum]:
    """The spectrum of the orbit of every start.

    λ_i = lim (1/T) Σ_t ln (R_t)_ii, with J(z_t) Q_{t−1} = Q_t R_t.

    Parameters
    ----------
    dynamics : Dynamics
    start : array (S, R)
        `transient` steps are walked before the average begins, for the orbit and for its frame Q.
    steps, transient, blocks : int
        Bins averaged, bins before, and blocks of the average: the error is their standard error, or half the difference
        between the two halves if that is larger.

    Returns
    -------
    list of S Spectrum
        Per bin; NaN where the orbit diverged.

    Raises
    ------
    ValueError
        steps is less than two blocks.
    """
    if steps < 2 * blocks or blocks < 2:
        raise ValueError(f"lyapunov: steps must be at least twice blocks, and blocks at least 2; got {steps} and {blocks}. Raise steps.")
    z = np.array(start, float)
    frame = np.broadcast_to(np.eye(z.shape[-1]), (*z.shape, z.shape[-1]))
    logs = np.empty((steps, *z.shape))
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(-transient, steps):
            turned = dynamics.jacobian(z) @ frame
            turned[~np.isfinite(turned).all((-1, -2))] = np.nan
            frame, triangle = _qr(turned)
            z = step(dynamics, z)
            if t >= 0:
                logs[t] = np.log(np.maximum(np.abs(np.diagonal(triangle, axis1=-2, axis2=-1)), SMALLEST))
    means = logs[: steps - steps % blocks].reshape(blocks, -1, *z.shape).mean(1)
    error = means.std(0, ddof=1) / blocks**0.5
    halves = np.abs(logs[: steps // 2].mean(0) - logs[steps // 2 :].mean(0)) / 2
    return [_sorted(value, spread, steps) for value, spread in zip(logs.mean(0), np.maximum(error, halves))]


def _qr(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """QR of each (S, R, R); a diverged one keeps NaN."""
    lost = np.isnan(matrices).any((-1, -2))
    q, r = np.linalg.qr(np.where(lost[:, None, None], 0.0, matrices))
    r[lost] = np.nan
    return q, r


def _sorted(exponents: np.ndarray, errors: np.ndarray, steps: int) -> Spectrum:
    order = np.argsort(-exponents)
    return Spectrum(exponents[order], errors[order], steps)
