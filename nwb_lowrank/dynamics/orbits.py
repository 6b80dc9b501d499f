"""Orbits of the noise-free map, many at once, in float64."""

from __future__ import annotations

import numpy as np

from ..searches.base import Dynamics

FAR = 1e8  # an orbit beyond this multiple of its starts' size has left for good


def step(dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
    """F(z), (..., R) -> (..., R); silent where it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return z + dynamics.change(z)


def orbit(dynamics: Dynamics, z: np.ndarray, steps: int) -> np.ndarray:
    """(steps + 1, ..., R): z, F(z), F²(z), …; NaN once an orbit has diverged."""
    path = np.empty((steps + 1, *z.shape))
    path[0], limit = z, FAR * (1 + np.abs(z).max(initial=0))
    for t in range(steps):
        path[t + 1] = bounded(step(dynamics, path[t]), limit)
    return path


def advance(dynamics: Dynamics, z: np.ndarray, steps: int) -> np.ndarray:
    """F^steps(z), without keeping the way; NaN where it diverged."""
    limit = FAR * (1 + np.abs(np.nan_to_num(z)).max(initial=0))
    for _ in range(steps):
        z = bounded(step(dynamics, z), limit)
    return z


def bounded(z: np.ndarray, limit: float) -> np.ndarray:
    """z, with NaN in the rows that are beyond the limit."""
    out = ~(np.abs(z).max(-1) < limit)
    return np.where(out[..., None], np.nan, z) if out.any() else z


def principal(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre (R,), principal axes (R, R) in rows (largest entry positive), and standard deviations (R,) of points (S, R)."""
    centre = points.mean(0)
    covariance = np.atleast_2d(np.cov(points - centre, rowvar=False, bias=True))
    variances, vectors = np.linalg.eigh(covariance)
    axes = vectors.T[::-1]
    axes = axes * np.where(axes[np.arange(len(axes)), np.abs(axes).argmax(1)] < 0, -1, 1)[:, None]
    return centre, axes, np.sqrt(np.maximum(variances[::-1], 0))


def size(points: np.ndarray) -> float:
    """Root mean square distance of points (S, R) from their centre."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()))


def by_modulus(values: np.ndarray) -> np.ndarray:
    """Each row of values (..., R) by falling modulus."""
    order = np.argsort(-np.abs(values), axis=-1, kind="stable")
    return np.take_along_axis(values, order, -1)


def eigenvalues(matrices: np.ndarray) -> np.ndarray:
    """(..., R, R) -> complex (..., R), by falling modulus."""
    return by_modulus(np.linalg.eigvals(matrices).astype(complex))
