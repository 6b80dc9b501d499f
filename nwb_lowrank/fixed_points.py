"""find_fixed_points: candidates from a search, every one verified, with Jacobian and stability."""

from __future__ import annotations

import numpy as np

from .model import LowRankRNN
from .results import FixedPoints
from .searches.base import EPS, Dynamics, Search, refine
from .searches.certified import Certified
from .searches.newton import Newton


def find_fixed_points(model: LowRankRNN, *, u=None, search: Search | None = None) -> FixedPoints:
    """Fixed points z = a z + n φ(m z + w u, h) of the noise-free dynamics at a constant input.

    Parameters
    ----------
    model : LowRankRNN
        Left as it is; all work is done on a float64 copy.
    u : array (D,) or None
        The input; None is zero input.
    search : Search or None
        None: Certified() where φ is piecewise linear (a proof that no other point exists), else Newton().

    Returns
    -------
    FixedPoints
        Fewest unstable directions first, then by coordinates. `complete` speaks of the certificate's region.
        At a point on a kink of φ (named in the certificate) the Jacobian takes the slope to the kink's right.

    Raises
    ------
    ValueError
        u does not fit the model, or an unbounded φ with neither a fit nor a region to search.
    """
    dynamics = Dynamics.of(model, u)
    if search is None:
        search = Certified() if dynamics.nonlinearity.piecewise_linear else Newton()
    found = search.candidates(dynamics)
    points, verified = refine(dynamics, found.points)
    points = distinct(dynamics, points[verified])
    jacobian = dynamics.jacobian(points)
    eigenvalues = _by_modulus(np.linalg.eigvals(jacobian).astype(complex))
    unstable = (np.abs(eigenvalues) >= 1).sum(1)
    order = np.lexsort((*points.T[::-1], unstable))
    degree, note = degree_sum(dynamics, points, jacobian, found.certificate["region"])
    reasons = [found.certificate["reason"]]
    if not verified.all():
        reasons.append(f"{int((~verified).sum())} candidates could not be verified in float64.")
    if degree not in (None, 1):
        reasons.append(f"The degree sum is {degree}, not +1: at least one fixed point is missing.")
    certificate = {"search": type(search).__name__, **found.certificate, "reason": " ".join(reasons)}
    certificate.update(degree_sum=degree, degree_note=note, on_kink=_on_kink(dynamics, points)[order].tolist())
    return FixedPoints(
        points=points[order],
        residual=np.abs(dynamics.change(points)).max(1, initial=0.0)[order],
        jacobian=jacobian[order],
        eigenvalues=eigenvalues[order],
        stable=(unstable == 0)[order],
        complete=bool(found.complete and verified.all() and degree in (None, 1)),
        certificate=certificate,
    )


def distinct(dynamics: Dynamics, points: np.ndarray) -> np.ndarray:
    """One of each fixed point among (P, R).

    Two are one if they lie in the same linear region (one linear system, one solution), or nearer than the
    error of either: |(I − J)⁻¹| times the rounding of F. So a close pair stays a pair while float64 can tell.
    """
    radius = _error(dynamics, points)
    region = _linear_region(dynamics, points)
    kept: list[int] = []
    for i in range(len(points)):
        near = np.linalg.norm(points[kept] - points[i], axis=1) <= radius[kept] + radius[i]
        same = (region[kept] == region[i]).all(1) if region is not None else False
        if not (near | same).any():
            kept.append(i)
    return points[kept]


def degree_sum(dynamics: Dynamics, points: np.ndarray, jacobian: np.ndarray, region: dict | None) -> tuple[int | None, str]:
    """Σ sign det(I − J) over all fixed points, and what it means: +1 where the dynamics map a box into
    themselves, I − J is nowhere singular and no point sits on a kink; None where that does not hold.

    By homotopy of F to a constant: the degree of I − F on the box is that of I. Two lost points can cancel.
    """
    box = dynamics.invariant_box()
    if box is None:
        return None, "not defined: the dynamics are not bounded"
    if region is None or (np.array(region["low"]) > box[0]).any() or (np.array(region["high"]) < box[1]).any():
        return None, "not defined: the region leaves out a part of the box that holds every fixed point"
    if _on_kink(dynamics, points).any():
        return None, "not defined: a fixed point lies on a kink"
    gap = np.eye(points.shape[1]) - jacobian
    # The error of a point already holds |(I − J)⁻¹|; a point known to less than this share is not isolated.
    size = 1e-6 * np.maximum(box[1], -box[0]).max(initial=EPS)
    if (_error(dynamics, points, cap=False) > size).any():
        return None, "not defined: I − J is singular at a fixed point"
    return int(np.sign(np.linalg.det(gap)).sum()), "+1 where no fixed point is missing (two that cancel may be)"


def _by_modulus(eigenvalues: np.ndarray) -> np.ndarray:
    order = np.argsort(-np.abs(eigenvalues), axis=1, kind="stable")
    return np.take_along_axis(eigenvalues, order, 1)


def _error(dynamics: Dynamics, points: np.ndarray, cap: bool = True) -> np.ndarray:
    """How far each verified point (P, R) may lie from the true one, (P,); capped where I − J is singular."""
    gap = np.eye(points.shape[1]) - dynamics.jacobian(points)
    smallest = np.linalg.svd(gap, compute_uv=False).min(1, initial=np.inf)
    error = 2 * np.linalg.norm(dynamics.rounding(points), axis=1) / np.maximum(smallest, np.finfo(float).tiny)
    return np.minimum(error, 1e-6 * np.linalg.norm(points, axis=1)) if cap else error


def _linear_region(dynamics: Dynamics, points: np.ndarray) -> np.ndarray | None:
    """(P, H) number of kinks below each unit's current; None unless φ is piecewise linear."""
    if not dynamics.nonlinearity.piecewise_linear:
        return None
    return (dynamics.currents(points) >= dynamics.kinks()[:, None]).sum(0)


def _on_kink(dynamics: Dynamics, points: np.ndarray) -> np.ndarray:
    """(P,) True where a unit that matters sits on a kink, within the error of the point."""
    matters = (dynamics.m != 0).any(1) & (dynamics.n != 0).any(0)
    kinks, current = dynamics.kinks()[:, None], dynamics.currents(points)
    room = _error(dynamics, points)[:, None] * np.linalg.norm(dynamics.m, axis=1)
    room = room + EPS * (np.abs(current) + np.abs(kinks).max((0, 1), initial=0))
    # Two kinks at one place may cancel (clipped ReLU with h = 0): only a change of slope counts.
    left, right = np.nextafter(current - 2 * room, -np.inf), np.nextafter(current + 2 * room, np.inf)
    bends = dynamics.slopes(left) != dynamics.slopes(right)
    return ((np.abs(current - kinks) <= room).any(0) & bends & matters).any(1)
