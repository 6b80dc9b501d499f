"""Slow points: local minima of the speed |F(z) − z| that are no fixed points (Sussillo, Barak 2013)."""

from __future__ import annotations

import numpy as np

from ..searches.base import Dynamics
from .base import SlowPoints
from .orbits import eigenvalues, size

NEAR = 1e-3  # share of the starts' size: the ball in which a slow point must be the slowest, and within which two are one


def find_slow_points(dynamics: Dynamics, starts: np.ndarray, *, keep: int = 20, rounds: int = 40, seed: int = 0) -> SlowPoints:
    """Levenberg–Marquardt on |F(z) − z|² from every start; where it stops, random directions are probed for a slower place.

    Probing matters for piecewise-linear φ, whose slow points lie on kinks, where gradients point across.

    Parameters
    ----------
    dynamics : Dynamics
    starts : array (S, R)
    keep : int
        At most so many, the slowest first.
    rounds, seed : int
        Of probing, and of its directions.

    Returns
    -------
    SlowPoints
        Only those slower than the median speed at the starts.
    """
    random, scale = np.random.default_rng(seed), max(size(starts), 1e-12)
    typical = float(np.median(_speed(dynamics, starts)))
    z = np.array(starts, float)
    z = z[np.isfinite(z).all(1)]
    for _ in range(rounds):
        z = _marquardt(dynamics, z)
        best, better = _probe(dynamics, z, scale * NEAR, random)
        if not better.any():
            break
        z[better] = best[better]
    _, better = _probe(dynamics, z, scale * NEAR, random)
    speed = _speed(dynamics, z)
    root = (np.abs(dynamics.change(z)) <= 1e3 * dynamics.rounding(z)).all(1) | (speed < 1e-9 * scale)
    chosen = np.flatnonzero(~better & ~root & (speed < typical))
    chosen = _apart(z, chosen[np.argsort(speed[chosen], kind="stable")], scale * NEAR * 10)[:keep]
    values = eigenvalues(dynamics.jacobian(z[chosen]))
    return SlowPoints(z[chosen], speed[chosen], speed[chosen] / max(typical, 1e-300), values)


def _speed(dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
    return np.linalg.norm(dynamics.change(z), axis=-1)


def _marquardt(dynamics: Dynamics, z: np.ndarray, steps: int = 60) -> np.ndarray:
    """Damped Gauss–Newton from every row at once: damping falls after a step that helps and rises after one that does not."""
    z, identity = z.copy(), np.eye(z.shape[1])
    damping, change = np.full(len(z), 1e-3), dynamics.change(z)
    for _ in range(steps):
        slope = dynamics.jacobian(z) - identity
        normal = slope.transpose(0, 2, 1) @ slope
        weight = damping * np.maximum(np.trace(normal, axis1=1, axis2=2), 1e-12)
        gradient = slope.transpose(0, 2, 1) @ change[..., None]
        moved = z - np.linalg.solve(normal + weight[:, None, None] * identity, gradient)[..., 0]
        new = dynamics.change(moved)
        better = (new**2).sum(1) < (change**2).sum(1)
        z[better], change[better] = moved[better], new[better]
        damping = np.where(better, np.maximum(damping / 5, 1e-12), np.minimum(damping * 5, 1e6))
        if not (better & ((new**2).sum(1) > 1e-30)).any() and damping.min() > 1e3:
            break
    return z


def _probe(dynamics: Dynamics, z: np.ndarray, radius: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The slowest of random places within `radius` of each z, and whether it is clearly slower."""
    count = 12 * z.shape[1]
    shift = random.normal(size=(count, *z.shape))
    shift *= radius * random.choice([1.0, 0.3, 0.1], size=(count, len(z), 1)) / np.linalg.norm(shift, axis=-1, keepdims=True)
    places = z + shift
    speed = _speed(dynamics, places)
    best = speed.argmin(0)
    rows = np.arange(len(z))
    return places[best, rows], speed[best, rows] < _speed(dynamics, z) * (1 - 1e-6)


def _apart(z: np.ndarray, order: np.ndarray, radius: float) -> np.ndarray:
    kept: list[int] = []
    for i in order:
        if not kept or np.linalg.norm(z[kept] - z[i], axis=1).min() > radius:
            kept.append(int(i))
    return np.array(kept, int)
