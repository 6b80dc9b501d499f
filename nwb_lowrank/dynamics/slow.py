"""Slow points: local minima of the speed |F(z) − z| that are no fixed points (Sussillo, Barak 2013)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from ..searches.base import Dynamics, refine
from .base import SlowPoints
from .orbits import eigenvalues, size

NEAR = 1e-3  # share of the starts' size: the ball in which a slow point must be the slowest
FLAT = 0.002  # a point is stationary when its slope times the starts' size is below this share of its speed


def find_slow_points(dynamics: Dynamics, starts: np.ndarray, *, keep: int = 20, tried: int = 32, seed: int = 0) -> SlowPoints:
    """Levenberg–Marquardt on |F(z) − z|² from every start, then gradient sampling, then a check by random places around.

    Slow points of piecewise-linear φ lie on kinks, where gradients point across: gradient sampling (Burke, Lewis, Overton 2005)
    goes down along a crease, by the shortest vector in the convex hull of the gradients around.

    Parameters
    ----------
    dynamics : Dynamics
    starts : array (S, R)
    keep, tried : int
        At most so many are returned, the slowest first, and at most so many ends of Levenberg–Marquardt are followed further.
    seed : int

    Returns
    -------
    SlowPoints
        Only those slower than the median speed at the starts.
    """
    random, scale = np.random.default_rng(seed), max(size(starts), 1e-12)
    typical = float(np.median(_speed(dynamics, starts)))
    z = _marquardt(dynamics, np.array(starts, float))
    ends = _apart(z, _candidates(dynamics, z, scale, typical), 10 * NEAR * scale)[:tried]
    found = [_descend(dynamics, z[i], scale, random) for i in ends]
    z = np.array([place for place, flat in found if flat]).reshape(-1, z.shape[1])
    roots, arrived = refine(dynamics, z)
    z = z[~(arrived & (np.linalg.norm(roots - z, axis=1) < 10 * NEAR * scale))]
    z = z[_slowest_around(dynamics, z, NEAR * scale, random)]
    chosen = _separate(dynamics, z, _candidates(dynamics, z, scale, typical))[:keep]
    speed = _speed(dynamics, z[chosen])
    values = eigenvalues(dynamics.jacobian(z[chosen]))
    return SlowPoints(z[chosen], speed, speed / max(typical, 1e-300), values)


def _speed(dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
    return np.linalg.norm(dynamics.change(z), axis=-1)


def _candidates(dynamics: Dynamics, z: np.ndarray, scale: float, typical: float) -> np.ndarray:
    """Rows of z that are slow and no fixed points, the slowest first."""
    speed = _speed(dynamics, z)
    root = (np.abs(dynamics.change(z)) <= 1e3 * dynamics.rounding(z)).all(1) | (speed < 1e-9 * scale)
    chosen = np.flatnonzero(~root & (speed < typical))
    return chosen[np.argsort(speed[chosen], kind="stable")]


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
    return z


def _descend(dynamics: Dynamics, z: np.ndarray, scale: float, random: np.random.Generator, steps: int = 200) -> tuple[np.ndarray, bool]:
    """Gradient sampling in shrinking balls; the last place, and whether it is stationary in the smallest."""
    radius, smallest = 0.03 * scale, 1e-5 * scale
    here = float(_speed(dynamics, z))
    for _ in range(steps):
        around = z + radius * _ball(random, (3 * len(z) + 3, len(z)))
        downhill = -_shortest(_gradients(dynamics, np.vstack([z, around])))
        slope = float(np.linalg.norm(downhill))
        if slope * scale < FLAT * here:
            if radius <= smallest:
                return z, True
            radius /= 4
            continue
        length = 4 * max(radius, 1e-2 * here / slope)
        tries = z + length * 0.5 ** np.arange(20)[:, None] * downhill / slope
        speed = _speed(dynamics, tries)
        enough = np.flatnonzero(speed < here - 0.01 * slope * length * 0.5 ** np.arange(20))
        if len(enough):
            z, here = tries[enough[0]], float(speed[enough[0]])
        elif radius > smallest:
            radius /= 4
        if here < 1e-9 * scale:
            return z, False
    return z, False


def _gradients(dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
    """Of |F(z) − z|, (S, R)."""
    change = dynamics.change(z)
    slope = dynamics.jacobian(z) - np.eye(z.shape[1])
    return (change[:, None] @ slope)[:, 0] / np.maximum(np.linalg.norm(change, axis=1, keepdims=True), 1e-300)


def _shortest(vectors: np.ndarray) -> np.ndarray:
    """The shortest vector in the convex hull of the rows: non-negative least squares with a heavy row for Σ = 1."""
    heavy = 1e4 * max(float(np.abs(vectors).max()), 1e-300)
    weights, _ = nnls(np.vstack([vectors.T, np.full(len(vectors), heavy)]), np.append(np.zeros(vectors.shape[1]), heavy))
    return weights @ vectors / max(weights.sum(), 1e-300)


def _slowest_around(dynamics: Dynamics, z: np.ndarray, radius: float, random: np.random.Generator) -> np.ndarray:
    """(S,) True where none of many random places within `radius` is clearly slower."""
    if not len(z):
        return np.zeros(0, bool)
    places = z + radius * _ball(random, (60 * z.shape[1], *z.shape))
    return ~(_speed(dynamics, places) < _speed(dynamics, z) * (1 - 10 * FLAT * NEAR)).any(0)


def _ball(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Places in the unit ball."""
    way = random.normal(size=shape)
    return way / np.linalg.norm(way, axis=-1, keepdims=True) * random.uniform(size=(*shape[:-1], 1))


def _apart(z: np.ndarray, order: np.ndarray, radius: float) -> np.ndarray:
    """Of the rows in `order`, those further than `radius` from every one before."""
    kept: list[int] = []
    for i in order:
        if not kept or np.linalg.norm(z[kept] - z[i], axis=1).min() > radius:
            kept.append(int(i))
    return np.array(kept, int)


def _separate(dynamics: Dynamics, z: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Of the rows in `order` (rising speed), those from which no straight way leads downhill to one before."""
    kept: list[int] = []
    for i in order:
        ways = z[i] + np.linspace(0, 1, 50)[:, None, None] * (z[kept] - z[i])
        if not kept or (_speed(dynamics, ways).max(0) > _speed(dynamics, z[i]) * (1 + FLAT)).all():
            kept.append(int(i))
    return np.array(kept, int)
