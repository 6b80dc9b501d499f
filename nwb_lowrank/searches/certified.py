"""Interval branch-and-bound: all fixed points in a box, with proof, for piecewise-linear φ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from .base import EPS, Box, Candidates, Dynamics, Search, refine


@dataclass(frozen=True, eq=False)
class Pieces:
    """G(z) = F(z) − z as linear z + n φ(m z + drive) + constant, over the units that bend.

    φ_i(x) = level_i + slope_i x + Σ_j jump_ij max(x − kink_ij, 0) is continuous. `slack` (H,) bounds the
    rounding of the currents and `error` (R,) that of G, anywhere in the box they were made for.
    """

    linear: np.ndarray
    constant: np.ndarray
    m: np.ndarray
    n: np.ndarray
    drive: np.ndarray
    level: np.ndarray
    slope: np.ndarray
    kinks: np.ndarray
    jumps: np.ndarray
    slack: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, dynamics: Dynamics, low: np.ndarray, high: np.ndarray) -> Pieces:
        """The pieces of `dynamics` for boxes inside (low, high)."""
        m, n, drive = dynamics.m, dynamics.n, dynamics.drive
        slope, kinks, jumps = _bends(dynamics)
        level = dynamics.rates(np.zeros_like(drive)) - (jumps * np.maximum(-kinks, 0)).sum(0)
        reach = np.abs(m) @ np.maximum(np.abs(low), np.abs(high)) + np.abs(drive)
        size = np.abs(level) + (np.abs(slope) + np.abs(jumps).sum(0)) * (reach + np.abs(np.where(jumps, kinks, 0)).sum(0))
        terms = (len(drive) + len(low) + 8) * EPS
        error = terms * (np.maximum(np.abs(low), np.abs(high)) + np.abs(n) @ size)
        # A unit whose current never varies, or that never bends, is part of the linear system.
        still = ~(m != 0).any(1)
        straight = still | ~(jumps != 0).any(0)
        gain = np.where(still, 0.0, slope)
        offset = np.where(still, dynamics.rates(drive), level + slope * drive)
        linear = (dynamics.decay - 1) * np.eye(len(low)) + (n * (gain * straight)) @ m
        bent = ~straight & (n != 0).any(0)
        return cls(
            linear, n @ (offset * straight), m[bent], n[:, bent], drive[bent], level[bent], slope[bent], kinks[:, bent], jumps[:, bent],
            terms * reach[bent], error,
        )  # fmt: skip

    def phi(self, x: np.ndarray) -> np.ndarray:
        """φ(x), (S, H) -> (S, H)."""
        y = self.level + self.slope * x
        for kink, jump in zip(self.kinks, self.jumps, strict=True):
            y += jump * np.maximum(x - kink, 0)
        return y

    def within(self, low: np.ndarray, high: np.ndarray) -> Pieces:
        """The same over the boxes inside (low, high): units without a kink there become linear."""
        centre, half = (low + high) / 2, (high - low) / 2
        x, reach = self.m @ centre + self.drive, np.abs(self.m) @ half + self.slack
        bent = (np.abs(self.kinks - x) < reach).any(0)
        straight = ~bent
        slope = self.slope + (self.jumps * (x > self.kinks)).sum(0)
        level = self.phi(x[None])[0] - slope * x
        m, n = self.m[straight], self.n[:, straight]
        linear = self.linear + (n * slope[straight]) @ m
        constant = self.constant + n @ (level + slope * self.drive)[straight]
        return Pieces(
            linear, constant, self.m[bent], self.n[:, bent], self.drive[bent], self.level[bent], self.slope[bent],
            self.kinks[:, bent], self.jumps[:, bent], self.slack[bent], self.error,
        )  # fmt: skip

    def secants(self, centre: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """λ, β, δ, each (S, H), with |φ_i(x) − λ_i x − β_i| ≤ δ_i for all currents x in box centre ± half."""
        x, reach = centre @ self.m.T + self.drive, half @ np.abs(self.m).T + self.slack
        low, high = x - reach, x + reach
        bottom, top = self.phi(low), self.phi(high)
        inside = [(low < kink) & (kink < high) for kink in self.kinks]
        bent = np.logical_or.reduce(inside)
        straight = self.slope + sum(jump * (x > kink) for kink, jump in zip(self.kinks, self.jumps, strict=True))
        slope = np.where(bent, (top - bottom) / (2 * reach), straight)
        # Whatever the slope, φ(x) − slope x is widest at an end or at a kink.
        bottom, top = bottom - slope * low, top - slope * high
        least, most = np.minimum(bottom, top), np.maximum(bottom, top)
        for kink, values, here in zip(self.kinks, self.phi(self.kinks), inside, strict=True):
            deviation = np.where(here, values - slope * kink, bottom)
            np.minimum(least, deviation, out=least)
            np.maximum(most, deviation, out=most)
        return slope, (least + most) / 2, np.where(bent, (most - least) / 2, 0.0)


def _bends(dynamics: Dynamics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope left of all kinks (H,), the kinks (J, H), and by how much the slope jumps at each (J, H).

    Kinks at one place are one; where nothing jumps there is no kink, so it is moved out of every box.
    """
    kinks = dynamics.kinks()
    if not len(kinks):
        return dynamics.slopes(np.zeros_like(dynamics.drive)), kinks, kinks
    between = np.concatenate([kinks[:1] - 1, (kinks[1:] + kinks[:-1]) / 2, kinks[-1:] + 1])
    slopes = dynamics.slopes(between)
    jumps = np.diff(slopes, axis=0)
    for j in range(1, len(kinks)):
        same = kinks[j] == kinks[j - 1]
        jumps[j, same] = slopes[j + 1, same] - slopes[j, same] + jumps[j - 1, same]
        jumps[j - 1, same] = 0.0
    return slopes[0], np.where(jumps != 0, kinks, 1e300), jumps


class Certified(Search):
    """All fixed points in a box, by bisection with a linear enclosure of φ.

    In a box with centre c and half-width w every unit is replaced by a line, φ_i(x) = λ_i x + β_i ± δ_i. With
    A = (a − 1) I + n diag(λ) m and any Y near A⁻¹, a fixed point z in the box obeys

        |z − c + Y (A c + n β)| ≤ |I − Y A| w + |Y n| δ

    (up to rounding, which is bounded and added): the box shrinks to that, or is empty. Where no unit bends
    (δ = 0) one linear system gives its only fixed point; other boxes are cut in two.

    Parameters
    ----------
    region : (low, high) or None
        Box to search, two corners of R numbers each. None: where φ is bounded the box that holds every
        fixed point; else three times the extent of the fitted trials.
    tolerance : float
        Boxes smaller than this share of the region are not cut further: a fixed point lies on a kink there
        (kept; still complete if proved to be the only one in the box), or I − J is singular.
    max_boxes : int
        Boxes to examine before giving up with what was found.
    batch : int
        Boxes examined together.
    """

    def __init__(self, *, region=None, tolerance: float = 1e-9, max_boxes: int = 4_000_000, batch: int = 256):
        if not (0 < tolerance < 1 and max_boxes >= 1 and batch >= 1):
            raise ValueError(
                f"Certified: expected 0 < tolerance < 1 and max_boxes, batch >= 1; got {tolerance}, {max_boxes}, {batch}. "
                "Leave them at their defaults."
            )
        self.region, self.tolerance, self.max_boxes, self.batch = region, tolerance, max_boxes, batch

    def candidates(self, dynamics: Dynamics) -> Candidates:
        if not dynamics.nonlinearity.piecewise_linear:
            name = type(dynamics.nonlinearity).__name__
            raise ValueError(f"Certified: needs a piecewise-linear nonlinearity; this model has {name}. Use Newton().")
        if not len(dynamics.kinks()):
            return _linear(dynamics)
        low, high = dynamics.box(self.region)
        tally = _Bisection(dynamics, (low, high), self.tolerance).run(self.max_boxes, self.batch)
        points, unproved = tally.settle()
        reasons = []
        if tally.open:
            reasons.append(
                f"Stopped after {tally.boxes} boxes with {tally.open} not examined: points may be missing. "
                "Raise max_boxes, give a smaller region=, or look with Newton(), which proves nothing."
            )
        if unproved:
            reasons.append(
                f"{unproved} boxes could not be decided: I − J is singular or changes sign there "
                "(a continuum of fixed points, or points that meet on a kink)."
            )
        region = dict(low=low.tolist(), high=high.tolist())
        reason = " ".join(reasons) or "Every part of the region was excluded or holds one point, solved exactly."
        counts = dict(region=region, boxes=tally.boxes, undecided=unproved, unexamined=tally.open, reason=reason)
        return Candidates(points, not reasons, counts)


def _linear(dynamics: Dynamics) -> Candidates:
    """φ without kinks: one linear system for all of space."""
    R = dynamics.m.shape[1]
    origin = np.zeros(R)
    A, b = dynamics.jacobian(origin) - np.eye(R), dynamics.change(origin)
    z = -np.linalg.pinv(A) @ b
    singular = not _regular(A[None])
    _, solved = refine(dynamics, z[None])
    reason = "The dynamics are linear: one linear system, solved."
    if singular:
        found = "a line or more of fixed points, of which one is given" if solved[0] else "no fixed point was found"
        reason = f"The dynamics are linear and I − J is singular in float64: {found}."
    points = z[None] if solved[0] or not singular else np.empty((0, R))
    return Candidates(points, not singular, dict(region=None, boxes=1, undecided=int(singular), unexamined=0, reason=reason))


def _regular(A: np.ndarray) -> bool:
    """True where the determinants of all (V, R, R) have one sign beyond rounding.

    The determinant is linear in the slope of each unit, so if the A at every corner of a box of slopes agree
    in sign, no A between them is singular, and G takes no value twice where its slopes stay in that box.
    """
    determinant = np.linalg.det(A)
    rounding = 1e-12 * np.linalg.norm(A, axis=(1, 2)) ** A.shape[1]
    return bool((determinant > rounding).all() or (determinant < -rounding).all())


class _Bisection:
    """One run: the boxes still to examine, the points solved, and the boxes too small to cut."""

    def __init__(self, dynamics: Dynamics, region: Box, tolerance: float):
        self.dynamics, self.pieces = dynamics, Pieces.of(dynamics, *region)
        self.region, self.stack = region, (region[0][None], region[1][None])
        # A coordinate counts as much as it moves the currents.
        self.weight = np.linalg.norm(dynamics.m, axis=0)
        self.smallest = tolerance * ((region[1] - region[0]) * self.weight).max()
        self.boxes, self.solved, self.small = 0, [], []

    @property
    def open(self) -> int:
        return len(self.stack[0])

    def run(self, max_boxes: int, batch: int) -> _Bisection:
        """Examine the newest boxes first, so that few wait."""
        while self.open and self.boxes < max_boxes:
            count = min(batch, max_boxes - self.boxes)
            boxes = tuple(corner[-count:] for corner in self.stack)
            self.boxes += len(boxes[0])
            parts = self.examine(*boxes)
            self.stack = tuple(np.concatenate([old[:-count], new]) for old, new in zip(self.stack, parts, strict=True))
        return self

    def examine(self, low: np.ndarray, high: np.ndarray) -> Box:
        """Exclude, solve or cut boxes (S, R); what remains to examine."""
        pieces = self.pieces.within(low.min(0), high.max(0))
        low, high, flat = contract(pieces, low, high)
        self.solved.append((low + high)[flat] / 2)
        return low[~flat], high[~flat]
