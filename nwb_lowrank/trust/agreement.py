"""agreement: do two fits of the same trials say the same in what the model identifies?

z is free up to any invertible linear map: m, n and single latents of two fits cannot be compared, these can.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..alignment import affine_map, affine_r2, padded
from ..metrics.bits_per_spike import explained_variance
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
        rates=min(explained_variance(*rates), explained_variance(*rates[::-1])),
        latents=min(affine_r2(*latents), affine_r2(*latents[::-1])),
        points=abs(len(first.points.points) - len(second.points.points)),
        stable=abs(int(first.points.stable.sum()) - int(second.points.stable.sum())),
        spectra=spectra_distance(first.points, second.points, affine_map(*latents)),
    )


def observed_noise(model) -> np.ndarray:
    """C Q Cᵀ (N, N): covariance that one step's noise has in the readouts."""
    loaded = (model.observation.loadings @ model.noise.chol()).detach().double().cpu().numpy()
    return loaded @ loaded.T


def spectra_distance(first: FixedPoints, second: FixedPoints, linear: np.ndarray) -> float:
    """Mean |λ − λ'| / |λ| over eigenvalues at fixed points that lie at the same place; NaN when one has none.

    linear : (R + 1, R') takes the first's latents to the second's. Points are paired one to one, nearest first overall, and so
    are the eigenvalues of each pair; points left over are not compared.
    """
    if not (len(first.points) and len(second.points)):
        return float("nan")
    moved = padded(first.points) @ linear
    distance = np.linalg.norm(moved[:, None] - second.points[None], axis=-1)
    pairs = zip(*linear_sum_assignment(distance))
    return float(np.mean([eigenvalue_distance(first.eigenvalues[i], second.eigenvalues[j]) for i, j in pairs]))


def eigenvalue_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean |λ − λ'| / |λ| of two spectra, paired so that it is smallest."""
    gaps = np.abs(first[:, None] - second[None])
    rows, columns = linear_sum_assignment(gaps)
    return float((gaps[rows, columns] / np.maximum(np.abs(first[rows]), 1e-12)).mean())
