"""k-cycles of the map: from near recurrences of orbits, by Newton's method on the whole cycle at once."""

from __future__ import annotations

import numpy as np

from ..searches.base import EPS, Dynamics
from .base import Cycle
from .circles import winding
from .orbits import eigenvalues, orbit, size, step

CLOSE = 0.3  # a stretch of an orbit is a candidate when its ends are nearer than this share of its extent
SAME = 1e-6  # share of the starts' size below which two points are one


def find_cycles(
    dynamics: Dynamics, starts: np.ndarray, *, longest: int = 60, steps: int = 600, per_period: int = 8, shortest_tried: int = 6
) -> tuple[Cycle, ...]:
    """Cycles of period 2 … `longest`, stable or not. No proof that there are no others.

    Candidates are (a) the stretches of the starts' orbits that come nearest to closing, `per_period` for every period, and
    (b) for periods up to `shortest_tried` the first k points of every orbit. Newton's method on the k equations
    F(z_i) = z_{i+1}, F(z_k) = z_1 decides.

    Parameters
    ----------
    dynamics : Dynamics
    starts : array (S, R)
        Such as latents of the data.
    longest, steps, per_period, shortest_tried : int

    Returns
    -------
    tuple of Cycle
        By rising period, the stable ones of a period first.
    """
    path = orbit(dynamics, np.asarray(starts, float), max(steps, 2 * longest))
    path = path[:, np.isfinite(path[-1]).all(-1)]
    if not path.size:
        return ()
    scale = size(path.reshape(-1, path.shape[-1]))
    found: list[Cycle] = []
    for k, candidates in _recurrences(path, longest, per_period, scale):
        if k <= shortest_tried:
            candidates = np.concatenate([candidates, path[:k].transpose(1, 0, 2)])
        for points in shoot(dynamics, candidates):
            found += [cycle] if (cycle := cycle_of(dynamics, points, scale)) and not _known(cycle, found, scale) else []
    return tuple(sorted(found, key=lambda cycle: (cycle.period, not cycle.stable)))


def shoot(dynamics: Dynamics, paths: np.ndarray, iterations: int = 30) -> np.ndarray:
    """Newton on whole cycles (C, k, R) at once (multiple shooting, condensed to the first point), damped.

    Returns
    -------
    array (C', k, R)
        The ones that arrived: |F(z_i) − z_{i+1}| within the rounding of F for every i.
    """
    z = paths.copy()
    gap = _gaps(dynamics, z)
    going = np.flatnonzero(np.isfinite(gap).all((1, 2)))
    for _ in range(iterations):
        if not len(going):
            break
        moved, new = _damped(dynamics, z[going], gap[going])
        better = _worst(new) < _worst(gap[going])
        going = going[better]  # the others are as good as they get
        z[going], gap[going] = moved[better], new[better]
    return z[(np.abs(gap) <= dynamics.rounding(z) + EPS * np.abs(z)).all((1, 2))]


def _damped(dynamics: Dynamics, z: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One Newton step for every cycle, halved at most five times until its largest gap shrinks; the cycles and their gaps."""
    move, goal = _newton(dynamics, z, gap), _worst(gap)
    moved, new = z + move, np.full_like(gap, np.inf)
    poor = np.arange(len(z))
    for share in 0.5 ** np.arange(6):
        moved[poor] = z[poor] + share * move[poor]
        new[poor] = _gaps(dynamics, moved[poor])
        poor = poor[~(_worst(new[poor]) < goal[poor])]
        if not len(poor):
            break
    return moved, new


def _worst(gap: np.ndarray) -> np.ndarray:
    return np.abs(gap).max((1, 2), initial=0)


def cycle_of(dynamics: Dynamics, points: np.ndarray, scale: float) -> Cycle | None:
    """The cycle through points (k, R) with its least period; None for a fixed point."""
    k = len(points)
    for period in range(1, k):
        if k % period == 0 and np.abs(points - np.roll(points, -period, 0)).max() < SAME * scale:
            return None if period == 1 else cycle_of(dynamics, points[:period], scale)
    if k == 1:
        return None
    residual = float(np.abs(_gaps(dynamics, points[None])).max())
    return Cycle(points, residual, eigenvalues(return_jacobian(dynamics, points)), winding(points))


def return_jacobian(dynamics: Dynamics, points: np.ndarray) -> np.ndarray:
    """dF^k/dz along points (k, R): the product of the Jacobians, the last on the left."""
    product = np.eye(points.shape[1])
    for jacobian in dynamics.jacobian(points):
        product = jacobian @ product
    return product


def _gaps(dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
    """F(z_i) − z_{i+1}, the last with the first: (C, k, R)."""
    return step(dynamics, z) - np.roll(z, -1, 1)


def _newton(dynamics: Dynamics, z: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """The moves d with J_i d_i + gap_i = d_{i+1} around the cycle: (C, k, R)."""
    jacobians, (count, k, R) = dynamics.jacobian(z), z.shape
    product, offset = np.broadcast_to(np.eye(R), (count, R, R)), np.zeros((count, R))
    for i in range(k):
        offset = (jacobians[:, i] @ offset[..., None])[..., 0] + gap[:, i]
        product = jacobians[:, i] @ product
    system = np.eye(R) - product
    fine = np.isfinite(system).all((1, 2)) & np.isfinite(offset).all(1)
    system, offset = np.where(fine[:, None, None], system, np.eye(R)), np.where(fine[:, None], offset, 0.0)
    move = np.empty_like(z)
    move[:, 0] = (np.linalg.pinv(system, rcond=1e-13) @ offset[..., None])[..., 0]
    for i in range(k - 1):
        move[:, i + 1] = (jacobians[:, i] @ move[:, i][..., None])[..., 0] + gap[:, i]
    return move


def _recurrences(path: np.ndarray, longest: int, count: int, scale: float):
    """(k, candidates (C, k, R)) for every period: the stretches of path (T, S, R) whose ends are nearest, against their extent."""
    T, extent = len(path), np.zeros(path.shape[:2])
    for k in range(1, longest + 1):
        apart = np.linalg.norm(path[k:] - path[:-k], axis=-1)
        extent[: T - k] = np.maximum(extent[: T - k], apart)
        if k == 1:
            continue
        ratio = np.where(extent[: T - k] > 1e-3 * scale, apart / np.maximum(extent[: T - k], 1e-300), np.inf)
        lowest = (ratio[1:-1] <= ratio[:-2]) & (ratio[1:-1] <= ratio[2:]) & (ratio[1:-1] < CLOSE)
        at, which = np.nonzero(lowest)
        order = np.argsort(ratio[1:-1][at, which], kind="stable")[:count]
        nearest = [path[t + 1 : t + 1 + k, s] for t, s in zip(at[order], which[order])]
        yield k, np.array(nearest).reshape(len(nearest), k, path.shape[-1])


def _known(cycle: Cycle, found: list[Cycle], scale: float) -> bool:
    return any(
        cycle.period == other.period and np.linalg.norm(other.points - cycle.points[0], axis=1).min() < SAME * scale for other in found
    )
