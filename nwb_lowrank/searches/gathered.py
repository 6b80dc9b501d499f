"""Fixed points found one by one that are not isolated: gathered into the lines, rings and surfaces on which they lie."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from .base import EPS, Dynamics
from .continua import MOST_SAMPLES, kind_across, shape

FLAT = 1e-7  # I − J does not move a direction that it shrinks to less than this share of its largest singular value
STEPS, SMALLEST = 200, 1 / 64  # first steps across the points, and the smallest (of such a step): how well a set's ends are known
GROWTH = 1 / 50  # no step is longer than this share of the way behind it, or than a first one
# A set moves some current by so much. About a double or triple root, places within 1e-5 are fixed points up to rounding: one point.
SHORTEST = 1e-3
MOST_STEPS, MOST_SETS = 5000, 50


def gather(dynamics: Dynamics, points: np.ndarray, alone: np.ndarray, known: list[dict], region) -> tuple[np.ndarray, list[dict]]:
    """Tell isolated points from those on sets, by walking from each along the direction that I − J does not move.

    Parameters
    ----------
    dynamics : Dynamics
    points : array (P, R)
        Verified fixed points.
    alone : bool array (P,)
        Proved isolated.
    known : list of dict
        Sets found already.
    region : (low, high) or None
        Where a walk ends.

    Returns
    -------
    isolated : bool array (P,), sets : list of dict
        New ones, as `continua.continua` describes them. A point from which no step leads on to another fixed point is isolated, or
        a double root: it stays a point.
    """
    isolated, sets = np.ones(len(points), bool), []
    nullity = np.zeros(len(points), int)
    nullity[~alone] = _directions(dynamics, points[~alone])[0]
    flat = np.flatnonzero(nullity)
    if not len(flat):
        return isolated, sets
    low, high = (np.full(points.shape[1], side) for side in (-np.inf, np.inf)) if region is None else region
    low, high = np.minimum(low, points.min(0)), np.maximum(high, points.max(0))  # Newton may have left the region
    walker = _Walker(dynamics, low, high, _size(points[flat], low, high))
    for i in flat:
        if not isolated[i] or len(sets) == MOST_SETS:
            continue
        path, ring = walker.curve(points[i]) if nullity[i] == 1 else (walker.around(points[i]), False)
        if len(path) < 3:
            continue
        dimension = int(nullity[i])
        reach = 1.1 * np.linalg.norm(np.diff(path, axis=0), axis=1).max()
        near = cKDTree(path).query(points[flat])[0] <= reach if dimension == 1 else nullity[flat] == dimension
        isolated[flat[near]] = False
        members = path if dimension == 1 else np.concatenate([path, points[flat[near]]])
        # The very ends of a line, on a kink beyond which I − J is regular.
        ends = cKDTree(path[[0, -1]]).query(points)[0] <= 2 * SMALLEST * walker.pace
        isolated[ends & ~alone & (not ring)] = False
        if dimension == 1 and (np.abs(dynamics.m) @ np.ptp(path, axis=0)).max() < SHORTEST:
            isolated[i] = True
            continue
        if not any(len(one["points"]) and cKDTree(members).query(np.array(one["points"]))[0].min() <= reach for one in known):
            sets.append(_describe(dynamics, members, points[flat[near]], dimension, "ring" if ring else shape(dimension)))
    return isolated, sets


def _size(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """How far apart the points lie; of one alone, as far as it lies from the origin or the region reaches."""
    spread = float(np.linalg.norm(np.ptp(points, axis=0)))
    if spread > 1e-6 * np.abs(points).max():
        return spread
    wide = float(np.linalg.norm(high - low))
    return wide if np.isfinite(wide) else max(float(np.linalg.norm(points[0])), 1.0)


def _directions(dynamics: Dynamics, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many directions at each z (S, R) I − J does not move, and all directions, those last (S, R, R)."""
    _, sizes, axes = np.linalg.svd(dynamics.jacobian(z) - np.eye(z.shape[1]))
    return (sizes <= FLAT * np.maximum(sizes[:, :1], EPS)).sum(1), axes


class _Walker:
    """Steps from fixed point to fixed point."""

    def __init__(self, dynamics: Dynamics, low: np.ndarray, high: np.ndarray, size: float):
        self.dynamics, self.low, self.high, self.pace = dynamics, low, high, size / STEPS

    def onto(self, z: np.ndarray, far: float) -> np.ndarray | None:
        """The fixed point nearest to z and no further than `far`, or None: Gauss–Newton steps without the directions that do not move."""
        start = z
        for _ in range(12):
            change = self.dynamics.change(z)
            if (np.abs(change) <= self.dynamics.rounding(z)).all():
                break
            z = z - np.linalg.pinv(self.dynamics.jacobian(z) - np.eye(len(z)), rcond=1e-5) @ change
        there = (np.abs(self.dynamics.change(z)) <= 4 * self.dynamics.rounding(z)).all() and np.linalg.norm(z - start) < far
        return z if there and (z >= self.low).all() and (z <= self.high).all() else None

    def curve(self, start: np.ndarray) -> tuple[np.ndarray, bool]:
        """The line or ring through `start`, in order, and whether it closes."""
        direction = _directions(self.dynamics, start[None])[1][0, -1]
        one, closed = self._half(start, direction)
        other = [] if closed else self._half(start, -direction)[0]
        return np.array([*other[::-1], start, *one]), closed

    def _half(self, start: np.ndarray, direction: np.ndarray) -> tuple[list[np.ndarray], bool]:
        path, here, length, step = [], start, 0.0, self.pace
        while step >= SMALLEST * self.pace and len(path) < MOST_STEPS:
            after = self.onto(here + step * direction, 0.1 * step)
            if after is None:
                step /= 2
                continue
            count, axes = _directions(self.dynamics, after[None])
            length += np.linalg.norm(after - here)
            if length > 4 * step and np.linalg.norm(after - start) < 0.9 * step:
                return path, True
            path.append(after)
            step = max(step, min(1.25 * step, GROWTH * length))
            if count[0] == 1:  # else the end of a line, on whose far side I − J is regular, or where two lines meet
                direction = axes[0, -1] * (1 if axes[0, -1] @ direction > 0 else -1)
            here = after
        return path, False

    def around(self, start: np.ndarray) -> np.ndarray:
        """Fixed points one step from `start` along the directions that do not move: a surface, if there are any."""
        count, axes = _directions(self.dynamics, start[None])
        near = [self.onto(start + sign * self.pace * axis, 0.5 * self.pace) for axis in axes[0, -int(count[0]) :] for sign in (-1, 1)]
        return np.array([start, *(z for z in near if z is not None)])


def _describe(dynamics: Dynamics, members: np.ndarray, met: np.ndarray, dimension: int, name: str) -> dict:
    """From fixed points along the set, in order, and those that were met on it."""
    low, high = np.minimum(members.min(0), met.min(0)), np.maximum(members.max(0), met.max(0))
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(members, axis=0), axis=1))])
    samples = members[np.unique(np.searchsorted(way, np.linspace(0, way[-1], MOST_SAMPLES)).clip(0, len(members) - 1))]
    return dict(dimension=dimension, shape=name, kind=kind_across(dynamics, samples, dimension), low=low.tolist(), high=high.tolist(),
                length=float(np.linalg.norm(high - low)), boxes=0, points=samples.tolist())  # fmt: skip
