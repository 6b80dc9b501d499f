"""find_fixed_points: candidates from a search, every one verified, with Jacobian and stability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .model import LowRankRNN
from .results import FixedPoints
from .searches.base import EPS, Candidates, Dynamics, Search, refine
from .searches.certified import Certified
from .searches.gathered import gather
from .searches.kinks import kind_on_kink, on_kink
from .searches.newton import Newton, capture

# Highest ranks for which a proof is tried unasked, and how many boxes it may cost (a minute or two); fewer with a smooth φ,
# whose every unit bends everywhere.
MOST_RANK, MOST_RANK_SMOOTH, BOXES, SMOOTH_BOXES = 6, 4, 20_000_000, 150_000


def find_fixed_points(model: LowRankRNN, *, u=None, search: Search | None = None, on_round=None) -> FixedPoints:
    """Fixed points z = a z + n φ(m z + w u, h) of the noise-free dynamics at a constant input.

    Parameters
    ----------
    model : LowRankRNN
        Left as it is; all work is done on a float64 copy.
    u : array (D,) or None
        The input; None is zero input.
    search : Search or None
        None: Certified() (a proof that no other point exists) up to rank 6, or 4 if φ is smooth; else Newton().
    on_round : function of `searches.bisection.Looked`, or None
        Called about ten times a second by a search that takes long: for a progress bar.

    Returns
    -------
    FixedPoints
        Fewest unstable directions first, then by coordinates. `complete` speaks of the certificate's region. Points that
        are not isolated (continuous attractors) are no points but `sets`. At a point on a kink of φ the Jacobian takes the
        slope to the kink's right, its kind looks at every side, and it is stable only if that is proved.

    Raises
    ------
    ValueError
        u does not fit the model, or an unbounded φ with neither a fit nor a region to search.
    """
    dynamics = Dynamics.of(model, u)
    found = (search := search or _default(dynamics)).candidates(dynamics, on_round)
    points, verified = refine(dynamics, found.points)
    boxes = np.full((len(points), 2, points.shape[1]), np.nan) if found.boxes is None else found.boxes
    rows, counts = _distinct_rows(dynamics, points[verified])
    points, boxes = points[verified][rows], boxes[verified][rows]
    points, boxes, counts, found = _gathered(dynamics, points, boxes, counts, found)
    jacobian = dynamics.jacobian(points)
    eigenvalues = _by_modulus(np.linalg.eigvals(jacobian).astype(complex))
    unstable = (np.abs(eigenvalues) >= 1).sum(1)
    order = np.lexsort((*points.T[::-1], unstable))
    points, boxes, jacobian, eigenvalues, unstable, counts = (
        part[order] for part in (points, boxes, jacobian, eigenvalues, unstable, counts)
    )
    kinks = on_kink(dynamics, points, _error(dynamics, points))
    sides = [kind_on_kink(dynamics, z, k, r) if k.any() else None for z, k, r in zip(points, kinks, _error(dynamics, points))]
    degree, note = degree_sum(dynamics, points, jacobian, found.certificate)
    reasons = [found.certificate["reason"]]
    if not verified.all():
        reasons.append(f"{int((~verified).sum())} candidates could not be verified in float64.")
    if degree not in (None, 1):
        reasons.append(f"The degree sum is {degree}, not +1: at least one fixed point is missing.")
    certificate = {"search": type(search).__name__, "sets": [], **found.certificate, "reason": " ".join(reasons)}
    certificate.update(degree_sum=degree, degree_note=note, on_kink=kinks.any(1).tolist(), kink_kinds=[s and s[0] for s in sides])
    if "starts" in certificate:
        certificate.update(captured=counts.tolist(), **capture(counts))
        certificate["reason"] += f" By how often each was found, about {certificate['missed']:.1f} more are expected."
    return FixedPoints(
        points=points,
        residual=np.abs(dynamics.change(points)).max(1, initial=0.0),
        jacobian=jacobian,
        eigenvalues=eigenvalues,
        stable=np.array([count == 0 if s is None else s[1] for count, s in zip(unstable, sides)], dtype=bool),
        complete=bool(found.complete and verified.all() and degree in (None, 1)),
        certificate=certificate,
        boxes=boxes,
    )


def _gathered(dynamics: Dynamics, points: np.ndarray, boxes: np.ndarray, counts: np.ndarray, found: Candidates):
    """The same without the points that are not isolated, which become sets of the certificate."""
    about, region = found.certificate, found.certificate["region"]
    if region is None:  # one linear system has told it all
        return points, boxes, counts, found
    region = (np.array(region["low"]), np.array(region["high"]))
    isolated, sets = gather(dynamics, points, np.isfinite(boxes).all((1, 2)), about.get("sets", []), region)
    if not isolated.all():
        reason = f"{about['reason']} {int((~isolated).sum())} points that were met are none of their own: "
        reason += "they lie on sets of fixed points, or within rounding of a double root."
        # What was a point of a set that was not yet known to be one is no set of its own.
        known = [one for one in about.get("sets", []) if one["dimension"] or not sets]
        about = {**about, "sets": known + sets, "reason": reason}
    return points[isolated], boxes[isolated], counts[isolated], replace(found, complete=found.complete and not sets, certificate=about)


def _default(dynamics: Dynamics) -> Search:
    rank, linear = dynamics.m.shape[1], dynamics.nonlinearity.piecewise_linear
    if not dynamics.certifiable or rank > (MOST_RANK if linear else MOST_RANK_SMOOTH):
        return Newton()
    return Certified(max_boxes=BOXES if linear else SMOOTH_BOXES)


def distinct(dynamics: Dynamics, points: np.ndarray) -> np.ndarray:
    """One of each fixed point among (P, R): see `_distinct_rows`."""
    return points[_distinct_rows(dynamics, points)[0]]


def _distinct_rows(dynamics: Dynamics, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one of each fixed point among (P, R), and how many of the P are that point.

    Two are one if they lie in the same linear region (one linear system, one solution), or nearer than the
    error of either: |(I − J)⁻¹| times the rounding of F. So a close pair stays a pair while float64 can tell.
    """
    radius = _error(dynamics, points)
    region = _linear_region(dynamics, points)
    kept: list[int] = []
    counts: list[int] = []
    for i in range(len(points)):
        near = np.linalg.norm(points[kept] - points[i], axis=1) <= radius[kept] + radius[i]
        same = near | ((region[kept] == region[i]).all(1) if region is not None else False)
        if same.any():
            counts[int(same.argmax())] += 1
        else:
            kept.append(i)
            counts.append(1)
    return np.array(kept, dtype=int), np.array(counts, dtype=int)


def degree_sum(dynamics: Dynamics, points: np.ndarray, jacobian: np.ndarray, certificate: dict) -> tuple[int | None, str]:
    """Σ sign det(I − J) over all fixed points, and what it means: +1 where the dynamics map a box into
    themselves, I − J is nowhere singular and no point sits on a kink; None where that does not hold.

    By homotopy of F to a constant: the degree of I − F on the box is that of I. Two lost points can cancel.
    """
    box, region = dynamics.invariant_box(), certificate["region"]
    if any(one["dimension"] for one in certificate.get("sets", [])):
        return None, "not defined: some fixed points are not isolated"
    if box is None:
        return None, "not defined: the dynamics are not bounded"
    if region is None or (np.array(region["low"]) > box[0]).any() or (np.array(region["high"]) < box[1]).any():
        return None, "not defined: the region leaves out a part of the box that holds every fixed point"
    if on_kink(dynamics, points, _error(dynamics, points)).any():
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
