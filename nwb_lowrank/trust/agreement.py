"""agreement: do two fits of the same trials say the same in what the model identifies?

z is free up to any invertible linear map: m, n and single latents of two fits cannot be compared, these can.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..results import FixedPoints


def agreement(first, second) -> dict[str, float]:
    """Compare two fits with what was inferred from the same trials.

    Parameters
    ----------
    first, second : Outcome
        As `restarts` makes them: fit, posterior and fixed points.

    Returns
    -------
    dict
        decay : |a − a'|
        noise : ‖C Q Cᵀ − C'Q'C'ᵀ‖ / mean norm (Frobenius), one step's noise as the neurons see it
        rates : R² of the second's predicted rates by the first's, per-neuron means taken away, the lower of both directions
        latents : R² of one's latents by the best affine map of the other's, the lower of both directions
        points, stable : difference in the number of fixed points, and of stable ones
        spectra : mean distance of the eigenvalues at matched fixed points (`spectra_distance`); NaN without a pair
    """
    C, D = (observed_noise(x.fit.model) for x in (first, second))
    rates, latents = ([x.posterior.rates for x in (first, second)], [x.posterior.latents for x in (first, second)])
    return dict(
        decay=abs(float(first.fit.model.decay.detach()) - float(second.fit.model.decay.detach())),
        noise=float(2 * np.linalg.norm(C - D) / max(np.linalg.norm(C) + np.linalg.norm(D), 1e-300)),
        rates=min(rates_r2(*rates), rates_r2(*rates[::-1])),
        latents=min(linear_r2(*latents), linear_r2(*latents[::-1])),
        points=abs(len(first.points.points) - len(second.points.points)),
        stable=abs(int(first.points.stable.sum()) - int(second.points.stable.sum())),
        spectra=spectra_distance(first.points, second.points, affine_map(*latents)),
    )


def observed_noise(model) -> np.ndarray:
    """C Q Cᵀ (N, N): covariance that one step's noise has in the readouts."""
    loaded = (model.observation.loadings @ model.noise.chol()).detach().double().cpu().numpy()
    return loaded @ loaded.T


def rates_r2(prediction: np.ndarray, truth: np.ndarray) -> float:
    """1 − Σ(truth − prediction)² / Σ(truth − per-neuron mean)², pooled over neurons."""
    spread = ((truth - truth.mean((0, 1))) ** 2).sum()
    return float(1 - ((truth - prediction) ** 2).sum() / spread) if spread > 0 else float("nan")


def affine_map(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(R + 1, R') least-squares map of latents (B, T, R), a constant in the last row."""
    return np.linalg.lstsq(_padded(source.reshape(-1, source.shape[-1])), target.reshape(-1, target.shape[-1]), rcond=None)[0]


def linear_r2(source: np.ndarray, target: np.ndarray) -> float:
    """R² of `target` latents by the best affine map of `source`, pooled over dimensions."""
    flat = target.reshape(-1, target.shape[-1])
    error = flat - _padded(source.reshape(-1, source.shape[-1])) @ affine_map(source, target)
    return float(1 - (error**2).sum() / ((flat - flat.mean(0)) ** 2).sum())


def spectra_distance(first: FixedPoints, second: FixedPoints, linear: np.ndarray) -> float:
    """Mean |λ − λ'| / |λ| over eigenvalues at fixed points that lie at the same place; NaN when one has none.

    linear : (R + 1, R') takes the first's latents to the second's. Points are paired one to one, nearest first overall, and so
    are the eigenvalues of each pair; points left over are not compared.
    """
    if not (len(first.points) and len(second.points)):
        return float("nan")
    moved = _padded(first.points) @ linear
    distance = np.linalg.norm(moved[:, None] - second.points[None], axis=-1)
    pairs = zip(*linear_sum_assignment(distance))
    return float(np.mean([eigenvalue_distance(first.eigenvalues[i], second.eigenvalues[j]) for i, j in pairs]))


def eigenvalue_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean |λ − λ'| / |λ| of two spectra, paired so that it is smallest."""
    gaps = np.abs(first[:, None] - second[None])
    rows, columns = linear_sum_assignment(gaps)
    return float((gaps[rows, columns] / np.maximum(np.abs(first[rows]), 1e-12)).mean())


def _padded(z: np.ndarray) -> np.ndarray:
    return np.concatenate([z, np.ones((len(z), 1))], 1)
