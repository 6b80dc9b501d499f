"""Stability where φ has no slope: a fixed point on a kink."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from .base import EPS, Dynamics

MOST_VERTICES = 10  # hyperplanes through a point for which every combination of sides is tried
DIRECTIONS = 2000  # in which the slopes are taken when there are more


def on_kink(dynamics: Dynamics, points: np.ndarray, room: np.ndarray) -> np.ndarray:
    """(P, H) True where a unit that matters sits on a kink, within `room` (P,) of the point."""
    matters = (dynamics.m != 0).any(1) & (dynamics.n != 0).any(0)
    kinks, current = dynamics.kinks()[:, None], dynamics.currents(points)
    reach = room[:, None] * np.linalg.norm(dynamics.m, axis=1)
    reach = reach + EPS * (np.abs(current) + np.abs(kinks).max((0, 1), initial=0))
    left, right = _sides(dynamics, current, reach)
    # Two kinks at one place may cancel (clipped ReLU with h = 0): only a change of slope counts.
    found = (np.abs(current - kinks) <= reach).any(0) & (left != right) & matters
    for point in np.flatnonzero(found.any(1)):
        rows = np.flatnonzero(found[point])
        found[point, rows[_cancelling(dynamics, rows, (right - left)[point, rows])]] = False
    return found


def _cancelling(dynamics: Dynamics, rows: np.ndarray, rise: np.ndarray) -> np.ndarray:
    """True for units (of `rows`) whose kinks share one hyperplane and whose changes of slope, `rise`, add up to none in F."""
    group, sign = _hyperplanes(dynamics, rows)
    jump = rise * np.linalg.norm(dynamics.m[rows], axis=1) * dynamics.n[:, rows]  # (R, rows), along the hyperplane's normal
    gone = np.zeros(len(rows), bool)
    for one in range(group.max() + 1):
        same = group == one
        # Units that turn their backs to each other are left: the Jacobian takes each one's right side, which is not one side.
        gone[same] = (sign[same] > 0).all() and (np.abs(jump[:, same].sum(1)) <= len(rows) * EPS * np.abs(jump[:, same]).sum(1)).all()
    return gone


def _hyperplanes(dynamics: Dynamics, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Units whose kinks are one hyperplane through a point share a number; ±1: which side of it is a unit's right."""
    normals = dynamics.m[rows] / np.linalg.norm(dynamics.m[rows], axis=1, keepdims=True)
    group, sign, first = np.zeros(len(rows), int), np.ones(len(rows)), []
    for row, normal in enumerate(normals):
        cosines = np.array([normal @ normals[other] for other in first])
        match = np.flatnonzero(np.abs(cosines) >= 1 - 8 * EPS)
        if len(match):
            group[row], sign[row] = match[0], np.sign(cosines[match[0]])
        else:
            group[row] = len(first)
            first.append(row)
    return group, sign


def kind_on_kink(dynamics: Dynamics, point: np.ndarray, units: np.ndarray, room: float) -> tuple[str, bool]:
    """The kind of a point (R,) with `units` (H,) on a kink, and whether it is proved to attract.

    F is linear on each side of the kinks. The point attracts for certain if one quadratic norm shrinks under all these
    linear maps. If each has an eigenvalue outside the unit circle, or none has, that is said, and no more: a product of
    stable maps may grow.
    """
    current = dynamics.currents(point)
    reach = room * np.linalg.norm(dynamics.m, axis=1) + EPS * (np.abs(current) + np.abs(dynamics.kinks()).max(0))
    left, right = _sides(dynamics, current[None], reach[None])
    rows = np.flatnonzero(units)
    group, sign = _hyperplanes(dynamics, rows)
    few = group.max() < MOST_VERTICES
    if few:
        sides = np.array(list(product((-1, 1), repeat=group.max() + 1)))
        choice = sides[:, group] * sign > 0
    else:
        directions = np.random.default_rng(0).normal(size=(DIRECTIONS, len(point)))
        choice = np.unique(directions @ dynamics.m[rows].T > 0, axis=0)
    slopes = np.repeat(dynamics.slopes(current)[None], len(choice), 0)
    slopes[:, rows] = np.where(choice, right[0, rows], left[0, rows])
    maps = dynamics.decay * np.eye(len(point)) + np.einsum("rh,kh,hs->krs", dynamics.n, slopes, dynamics.m)
    unstable = (np.abs(np.linalg.eigvals(maps)) >= 1).sum(1)
    least, most = int(unstable.min()), int(unstable.max())
    if most == 0 and few and _common_norm(maps):
        return "attractor, on a kink", True
    if least == 0 or least != most:
        return f"undetermined, on a kink ({least} to {most} unstable)", False
    name = "repeller" if least == len(point) else f"saddle ({least} unstable)"
    return f"{name} on every side of a kink", False


def _common_norm(maps: np.ndarray) -> bool:
    """A quadratic norm found for the mean map shrinks under every one (K, R, R), hence under all between them."""
    identity, mean = np.eye(maps.shape[1]), maps.mean(0)
    if np.abs(np.linalg.eigvals(mean)).max() >= 1:
        return False
    root = np.linalg.cholesky(solve_discrete_lyapunov(mean.T, identity)).T
    return bool(np.linalg.norm(root @ maps @ np.linalg.inv(root), ord=2, axis=(1, 2)).max() < 1 - 1e-12)


def _sides(dynamics: Dynamics, current: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.nextafter(current - 2 * reach, -np.inf), np.nextafter(current + 2 * reach, np.inf)
    return dynamics.slopes(left), dynamics.slopes(right)
