"""Interval branch-and-bound: all fixed points in a box, with proof."""

from __future__ import annotations

import numpy as np

from . import boxes as looks
from .base import Candidates, Dynamics, Search, refine
from .bisection import Bisection
from .continua import continua, shape
from .settle import settle

MOST_GUESSES = 2000  # starts of Newton in what a stopped search did not reach


class Certified(Search):
    """All fixed points in a box, by bisection with a linear enclosure of φ.

    In a box with centre c and half-width w every unit is replaced by a line, φ_i(x) = λ_i x + β_i ± δ_i: the secant, moved
    to the middle of what φ strays from it. With A = (a − 1) I + n diag(λ) m and any Y near A⁻¹, a fixed point z in the box obeys

        |z − c + Y (A c + n β)| ≤ |I − Y A| w + |Y n| δ

    (up to rounding, which is bounded and added): the box shrinks to that, or is empty. Where z − Y (F(z) − z) is a contraction of
    the box into itself (Krawczyk's test, with the slopes of φ in the box) it holds exactly one fixed point; where no unit
    bends (δ = 0) one linear system gives it; other boxes are cut in two. Compiled code also takes the combination y · (F(z) − z) that is
    likely to be furthest from 0: y · n φ lies below one line a unit, which may touch φ where it is convex and cross it where it is not
    (the sign of y · n_i says which), so that the plane above their sum empties half of the boxes that are left.

    Parameters
    ----------
    region : (low, high) or None
        Box to search, two corners of R numbers each. None: where φ is bounded the box that holds every
        fixed point; else three times the extent of the fitted trials.
    tolerance : float
        Boxes smaller than this share of the region are not cut further: a fixed point lies on a kink there
        (kept; still complete if it is proved to be the only one there), or I − J is singular.
    max_boxes : int
        Boxes to examine before giving up with what was found.
    budget : float or None
        Seconds to search before giving up with what was found; None: no limit. Compiling (the first time, some ten seconds) is not counted.
    state : str or None
        A file (.npz) for the boxes still waiting when a search gives up; the next one with the same file goes on from there.
    compile : bool
        Compile the inner loop with numba, where that is installed and φ is piecewise linear; False: NumPy alone.
    """

    def __init__(self, *, region=None, tolerance: float = 1e-9, max_boxes: int = 100_000_000, budget: float | None = None,
                 state: str | None = None, compile: bool = True):  # fmt: skip
        if not (0 < tolerance < 1 and max_boxes >= 1 and (budget is None or budget > 0)):
            raise ValueError(
                "Certified: expected 0 < tolerance < 1, max_boxes >= 1 and budget > 0 seconds or None; "
                f"got {tolerance}, {max_boxes}, {budget}. Leave them at their defaults."
            )
        self.region, self.tolerance, self.max_boxes, self.budget = region, tolerance, max_boxes, budget
        self.state, self.compile = state, compile

    def candidates(self, dynamics: Dynamics, on_round=None) -> Candidates:
        if not dynamics.certifiable:
            name = type(dynamics.nonlinearity).__name__
            raise ValueError(f"Certified: needs a nonlinearity that is piecewise linear or has `touching`; {name} is not. Use Newton().")
        if dynamics.nonlinearity.piecewise_linear and not len(dynamics.kinks()):
            return _linear(dynamics)
        run = Bisection(dynamics, dynamics.box(self.region), self.tolerance, self.compile)
        if self.state:
            run.load(self.state)
        run.run(self.max_boxes, self.budget, on_round)
        if self.state and len(run.waiting):
            run.save(self.state)
        return _result(run)


def _result(run: Bisection) -> Candidates:
    settled = settle(run)
    sets = continua(run.dynamics, run.field, run.boxes_of(looks.CONTINUUM), settled.undecided, run.smallest / run.weight.max())
    undecided, reasons = len(settled.undecided) + len(run.boxes_of(looks.CONTINUUM)), []
    guesses = np.concatenate(
        [_guesses(run), *(np.array(one["points"]).reshape(-1, run.waiting.shape[2])[:1] for one in sets if not one["dimension"])]
    )
    if run.stopped:
        reasons.append(
            f"Stopped {run.stopped} with {len(run.waiting)} not examined: points may be missing. "
            "Raise max_boxes or budget, give a smaller region=, or look with Newton(), which proves nothing."
        )
    if undecided:
        shown = "; ".join(map(_words, sets[:5])) + ("; …" if len(sets) > 5 else "")
        reasons.append(f"{undecided} small boxes could not be decided: I − J is singular there ({shown}).")
    region = dict(low=run.region[0].tolist(), high=run.region[1].tolist())
    reason = " ".join(reasons) or "Every part of the region was excluded or holds one point, solved exactly."
    certificate = dict(region=region, boxes=run.boxes, undecided=undecided, unexamined=len(run.waiting), tolerance=run.tolerance,
                       left=run.progress().left, sets=sets, reason=reason)  # fmt: skip
    points, nowhere = np.concatenate([settled.points, guesses]), np.full((len(guesses), 2, guesses.shape[1]), np.nan)
    return Candidates(points, not reasons, certificate, np.concatenate([settled.boxes, nowhere]))


def _words(one: dict) -> str:
    if one["dimension"] == 0:
        where = ", ".join(f"{x:.4g}" for x in np.mean([one["low"], one["high"]], axis=0))
        return f"near ({where}): two points about to meet, or one that only touches"
    return f"a {one['shape']} of fixed points, {one['length']:.4g} long"


def _guesses(run: Bisection) -> np.ndarray:
    """Points (G, R) that Newton finds from the widest boxes that were not reached: more to tell than nothing."""
    starts = run.waiting[np.argsort(-run.width(run.waiting), kind="stable")[:MOST_GUESSES]].mean(1)
    if not len(starts):
        return starts
    z, arrived = refine(run.dynamics, starts)
    return z[arrived & ((z >= run.region[0]) & (z <= run.region[1])).all(1)]


def _linear(dynamics: Dynamics) -> Candidates:
    """φ without kinks: one linear system for all of space."""
    R = dynamics.m.shape[1]
    origin = np.zeros(R)
    A, b = dynamics.jacobian(origin) - np.eye(R), dynamics.change(origin)
    z = -np.linalg.pinv(A) @ b
    singular = bool(np.linalg.cond(A) > 1e12)
    _, solved = refine(dynamics, z[None])
    reason = "The dynamics are linear: one linear system, solved."
    sets = []
    if singular:
        found = "a line or more of fixed points, of which one is given" if solved[0] else "no fixed point was found"
        reason = f"The dynamics are linear and I − J is singular in float64: {found}."
    if singular and solved[0]:
        dimension = int((np.linalg.svd(A, compute_uv=False) < 1e-12 * max(1.0, np.abs(A).max())).sum())
        sets = [
            dict(dimension=dimension, shape=shape(dimension), kind=None, low=None, high=None, length=None, boxes=1, points=z[None].tolist())
        ]
    points = z[None] if solved[0] or not singular else np.empty((0, R))
    about = dict(region=None, boxes=1, undecided=int(singular), unexamined=0, left=0.0, sets=sets, reason=reason)
    return Candidates(points, not singular, about)
