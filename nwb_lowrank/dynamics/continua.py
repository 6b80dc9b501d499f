"""Continuous attractors: curves along which the dynamics (almost) stand still, walked from end to end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree

from ..searches.base import Dynamics
from .orbits import advance, eigenvalues, principal, size

SLOWER = 20.0  # along the set a deviation lives at least so many times longer than off it
SHORTEST = 0.25  # a set must be this long against the size of the starts to be one
PARTS = 100  # steps over the size of the starts


@dataclass(frozen=True, eq=False)
class Continuum:
    """A set of (almost) fixed points that attracts.

    Parameters
    ----------
    kind : str
        'line' (two ends), 'ring' (closed) or 'sheet' (two or more dimensions; points are where orbits came to rest).
    points : array (S, R)
        Along the set.
    length : float
        Of the curve; of a sheet, the extent of its points.
    fast : float
        Bins in which a deviation off the set shrinks by e.
    drift : float
        Bins to drift along the whole set at its median speed; inf where it stands still.
    slowest : complex
        Median eigenvalue along the set.
    dimension : int
    """

    kind: str
    points: np.ndarray
    length: float
    fast: float
    drift: float
    slowest: complex
    dimension: int


def continuum_of(dynamics: Dynamics, starts: np.ndarray) -> Continuum | None:
    """The continuous attractor on which orbits from starts (S, R) come to rest, or None.

    Orbits are followed until what relaxes fast has relaxed. Where the leading eigenvalue of the Jacobian there is real and so
    near to 1 that a deviation along it lives 20 times longer than any other, its direction is walked in small steps, each
    followed by a few relaxation times of the dynamics, until the separation of time scales is lost (an end) or the walk comes
    back (a ring).
    """
    scale = size(starts)
    for steps in (25, 100, 400):
        rest = advance(dynamics, starts, steps)
        rest = rest[np.isfinite(rest).all(1)]
        if not len(rest):
            return None
        slow = slow_directions(dynamics, rest)
        speed = np.linalg.norm(dynamics.change(rest), axis=1)
        # Of those with slow directions, from the one that is nearest to rest.
        ready = np.flatnonzero((slow > 0) & (speed < 0.01 * scale))
        for at in ready[np.argsort(speed[ready])][:: max(1, len(ready) // 4)][:4]:
            found = _sheet(dynamics, rest[ready], scale) if slow[at] > 1 else _walk(dynamics, rest[at], scale)
            if found is not None:
                return found
    return None


def of_set(dynamics: Dynamics, one: dict) -> Continuum:
    """A set of fixed points as the search describes it (`FixedPoints.sets`): nothing moves along it."""
    samples, dimension = np.array(one["points"]), int(one["dimension"])
    points, length = _joined(samples) if dimension == 1 else (samples, float(one["length"]))
    ring = one["shape"] == "ring"
    if ring:  # the shortest ways between its samples leave one gap
        length *= len(samples) / (len(samples) - 1)
    fast = float(np.median([_fast(dynamics, point, dimension) for point in samples]))
    kind = "sheet" if dimension > 1 else "ring" if ring else "line"
    return Continuum(kind, points, length, fast, np.inf, _middle(dynamics, samples), dimension)


def _joined(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Points along the shortest ways that join samples of a curve (S, R), in whatever order they come, and the ways' length."""
    tree = minimum_spanning_tree(np.linalg.norm(samples[:, None] - samples, axis=2)).tocoo()
    steps = np.linspace(0, 1, 20)[:, None, None]
    between = samples[tree.row] + steps * (samples[tree.col] - samples[tree.row])
    return between.reshape(-1, samples.shape[1]), float(tree.data.sum())


def slow_directions(dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
    """(S,) how many eigenvalues at z are so near to 1 that all others decay 20 times faster; 0 where there is no such gap."""
    values = eigenvalues(dynamics.jacobian(z))
    away = np.sort(np.abs(values - 1), axis=1)
    # With nothing faster left, the leak of the network itself is the yardstick.
    inside = np.where(np.abs(values) < 1, 1 - np.abs(values), np.inf)
    decay = np.concatenate([np.sort(inside, axis=1), np.full((len(z), 1), 1 - dynamics.decay)], 1)
    count, R = np.zeros(len(z), int), z.shape[1]
    for d in range(R, 0, -1):
        rest = decay[:, d] if d < R else np.full(len(z), 1 - dynamics.decay)
        others = d == R or (np.sort(np.abs(values), axis=1)[:, : R - d] < 1 - SLOWER * away[:, d - 1 : d]).all(1)
        count = np.where((count == 0) & (away[:, d - 1] * SLOWER <= rest) & others, d, count)
    return count


def _walk(dynamics: Dynamics, start: np.ndarray, scale: float) -> Continuum | None:
    """The curve through `start` along the slow direction."""
    pace, fast = scale / PARTS, _fast(dynamics, start)
    direction = _slow_axis(dynamics, start)
    one, closed = _half(dynamics, start, direction, pace, fast)
    other, _ = ([], False) if closed else _half(dynamics, start, -direction, pace, fast)
    points = np.array([*other[::-1], start, *one])
    length = float(np.linalg.norm(np.diff(points, axis=0, append=points[:1] if closed else points[-1:]), axis=1).sum())
    if length < SHORTEST * scale or len(points) < 5:
        return None
    speed = float(np.median(np.linalg.norm(dynamics.change(points), axis=1)))
    if speed * fast * SLOWER > length:  # it moves along too fast to be standing
        return None
    drift = length / speed if speed > 1e-14 * scale else np.inf
    return Continuum("ring" if closed else "line", points, length, fast, drift, _middle(dynamics, points), 1)


def _half(dynamics: Dynamics, start: np.ndarray, direction: np.ndarray, pace: float, fast: float) -> tuple[list, bool]:
    """Points of one half of the curve, and whether it came back to the start."""
    points, here, travelled = [], start, 0.0
    relax = int(np.clip(np.ceil(4 * fast), 4, 400))
    for _ in range(20 * PARTS):
        after = advance(dynamics, here + pace * direction, relax)
        moved = after - here
        if not np.linalg.norm(moved) < 2 * pace or moved @ direction < 0.5 * pace or slow_directions(dynamics, after[None])[0] != 1:
            return points, False
        travelled += np.linalg.norm(moved)
        if travelled > 5 * pace and np.linalg.norm(after - start) < 0.9 * pace:
            return points, True
        points.append(after)
        axis = _slow_axis(dynamics, after)
        here, direction = after, axis * (1 if axis @ moved > 0 else -1)
    return points, False


def _sheet(dynamics: Dynamics, rest: np.ndarray, scale: float) -> Continuum | None:
    """Where orbits came to rest on a set of two or more dimensions."""
    spread = principal(rest)[2]
    dimension = int(np.median(slow_directions(dynamics, rest)))
    if dimension < 2 or len(rest) < 10 or spread[dimension - 1] < SHORTEST * scale / 4:
        return None
    speed, fast = float(np.median(np.linalg.norm(dynamics.change(rest), axis=1))), _fast(dynamics, rest[0], dimension)
    length = float(4 * spread[0])
    if speed * fast * SLOWER > length:
        return None
    return Continuum("sheet", rest, length, fast, length / speed if speed > 1e-14 * scale else np.inf, _middle(dynamics, rest), dimension)


def _slow_axis(dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
    """Unit eigenvector of the eigenvalue nearest to 1."""
    values, vectors = np.linalg.eig(dynamics.jacobian(z))
    axis = vectors[:, np.abs(values - 1).argmin()].real
    return axis / np.linalg.norm(axis)


def _fast(dynamics: Dynamics, z: np.ndarray, dimension: int = 1) -> float:
    """Time constant, bins, of the slowest direction off the set; that of the leak where there is none."""
    values = np.linalg.eigvals(dynamics.jacobian(z))
    off = np.abs(values[np.argsort(np.abs(values - 1))][dimension:])
    largest = off.max() if len(off) else dynamics.decay
    return float(-1 / np.log(max(min(largest, 1 - 1e-12), 1e-12)))


def _middle(dynamics: Dynamics, points: np.ndarray) -> complex:
    values = np.linalg.eigvals(dynamics.jacobian(points))
    nearest = np.take_along_axis(values, np.abs(values - 1).argmin(1)[:, None], 1)[:, 0]
    return complex(np.median(nearest.real))
