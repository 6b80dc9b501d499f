"""Interval branch-and-bound: all fixed points in a box, with proof, for piecewise-linear φ."""

from __future__ import annotations

from itertools import product

import numpy as np

from .base import EPS, Box, Candidates, Dynamics, Search, refine
from .pieces import Pieces

# Stuck boxes looked at one by one, and boxes for one face of one of them: enough for honest kinks, an end for continua.
MOST_SETTLED, MOST_ON_FACE = 100, 20_000


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
        (kept; still complete if it is proved to be the only one there), or I − J is singular.
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
        tally = _Bisection(dynamics, (low, high), Pieces.of(dynamics, low, high), self.tolerance)
        tally.run(self.max_boxes, self.batch)
        points, undecided = tally.settle()
        reasons = []
        if tally.waiting:
            reasons.append(
                f"Stopped after {tally.boxes} boxes with {tally.waiting} not examined: points may be missing. "
                "Raise max_boxes, give a smaller region=, or look with Newton(), which proves nothing."
            )
        if undecided:
            reasons.append(
                f"{undecided} small boxes could not be decided: I − J is singular there (a continuum of fixed points, "
                "or two that are about to meet)."
            )
        region = dict(low=low.tolist(), high=high.tolist())
        reason = " ".join(reasons) or "Every part of the region was excluded or holds one point, solved exactly."
        counts = dict(region=region, boxes=tally.boxes, undecided=undecided, unexamined=tally.waiting, reason=reason)
        return Candidates(points, not reasons, counts)


def _linear(dynamics: Dynamics) -> Candidates:
    """φ without kinks: one linear system for all of space."""
    R = dynamics.m.shape[1]
    origin = np.zeros(R)
    A, b = dynamics.jacobian(origin) - np.eye(R), dynamics.change(origin)
    z = -np.linalg.pinv(A) @ b
    singular = bool(np.linalg.cond(A) > 1e12)
    _, solved = refine(dynamics, z[None])
    reason = "The dynamics are linear: one linear system, solved."
    if singular:
        found = "a line or more of fixed points, of which one is given" if solved[0] else "no fixed point was found"
        reason = f"The dynamics are linear and I − J is singular in float64: {found}."
    points = z[None] if solved[0] or not singular else np.empty((0, R))
    return Candidates(points, not singular, dict(region=None, boxes=1, undecided=int(singular), unexamined=0, reason=reason))


class _Bisection:
    """One run: boxes waiting, points solved, and boxes that cannot be decided by cutting."""

    def __init__(self, dynamics: Dynamics, region: Box, pieces: Pieces, tolerance: float):
        self.dynamics, self.region, self.pieces = dynamics, region, pieces
        # A coordinate counts as much as it moves the currents.
        self.weight = np.linalg.norm(dynamics.m, axis=0)
        self.smallest = tolerance * self.width(*region).max()
        self.low, self.high = region[0][None], region[1][None]
        self.margin = self.pieces.error + 4 * EPS * np.abs(region).max(0)
        self.boxes, self.solved, self.stuck = 0, [], []

    @property
    def waiting(self) -> int:
        return len(self.low)

    def width(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Widths as the currents feel them."""
        return (high - low) * self.weight

    def run(self, max_boxes: int, batch: int) -> None:
        """Examine the newest boxes first, so that few wait."""
        while self.waiting and self.boxes < max_boxes:
            count = min(batch, max_boxes - self.boxes, self.waiting)
            low, high = self.low[-count:], self.high[-count:]
            self.boxes += count
            parts = self._cut(*self._examine(low, high))
            self.low, self.high = (np.concatenate([old[:-count], new]) for old, new in zip((self.low, self.high), parts, strict=True))

    def _examine(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Drop empty boxes (S, R), solve linear ones; the shrunk rest, and its widest side before."""
        pieces = self.pieces.within(low.min(0), high.max(0))
        kept, low_now, high_now, linear, continuum = _contract(pieces, low, high)
        before = self.width(low[kept], high[kept]).max(1)
        self.solved.append((low_now[linear] + high_now[linear]) / 2)
        stuck = ~linear & (continuum | (self.width(low_now, high_now).max(1) < self.smallest))
        self.stuck.append(np.stack([low_now[stuck], high_now[stuck]], 1))
        rest = ~(linear | stuck)
        return low_now[rest], high_now[rest], before[rest]

    def _cut(self, low: np.ndarray, high: np.ndarray, before: np.ndarray) -> Box:
        """Halve each box across its widest side, save those that just shrank by more than a cut would."""
        width = self.width(low, high)
        cut = width.max(1) > 0.5 * before
        rows, side = np.arange(int(cut.sum())), width[cut].argmax(1)
        middle = (low[cut] + high[cut]) / 2
        left, right = high[cut], low[cut]
        left[rows, side] = right[rows, side] = middle[rows, side]
        return np.concatenate([low[~cut], low[cut], right]), np.concatenate([high[~cut], left, high[cut]])

    def settle(self) -> tuple[np.ndarray, int]:
        """The candidates (P, R), and how many stuck boxes may hold a point that is not among them."""
        stuck = np.concatenate([np.empty((0, 2, len(self.weight))), *self.stuck])
        points, undecided = list(self.solved), 0
        for _ in range(MOST_SETTLED):
            if not len(stuck):
                break
            z, arrived = self._aim(*stuck[0])
            half, alone = self._alone(z) if arrived else (np.zeros_like(z), False)
            if arrived and (np.abs(z - np.clip(z, *self.region)) <= self.margin).all():
                points.append(z[None])
            near = (np.abs(stuck - z) <= half).all((1, 2))
            tried = near | (np.arange(len(stuck)) == 0)
            undecided += int((tried & ~(near & alone)).sum())
            stuck = stuck[~tried]
        return np.concatenate(points), undecided + len(stuck)

    def _aim(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, bool]:
        """A fixed point (R,) in or near a stuck box, and whether it is one: where its kinks meet, or by Newton."""
        centre = (low + high) / 2
        pieces = self.pieces.within(low, high)
        x = pieces.m @ centre + pieces.drive
        units = np.arange(len(x))
        kink = pieces.kinks[np.abs(pieces.kinks - x).argmin(0), units]
        value = pieces.linear @ centre + pieces.n @ pieces.phi(kink) + pieces.constant
        corner = centre + np.linalg.lstsq(np.vstack([pieces.m, pieces.linear]), np.concatenate([kink - x, -value]))[0]
        # Newton does not move a point that is solved already.
        z, arrived = refine(self.dynamics, np.stack([corner, centre]))
        best = 0 if arrived[0] else 1
        return z[best], bool(arrived[best])

    def _alone(self, z: np.ndarray) -> tuple[np.ndarray, bool]:
        """Half-sides (R,) of a box in which every kink passes through the fixed point z, and whether z is its only one.

        In such a box F(z + d) − z is positively homogeneous in d: another fixed point would lie on a ray of them
        that leaves through the surface. So it is enough to search the 2 R faces.
        """
        size = np.maximum(self.region[1] - self.region[0], EPS)
        size = np.where(size > 1e-9 * size.max(), size, size.max())
        pieces = Pieces.of(self.dynamics, z - size, z + size)
        offset = np.abs(pieces.m @ z + pieces.drive - pieces.kinks)
        share = (offset / (np.abs(pieces.m) @ size))[offset > pieces.slack].min(initial=1.0)
        half = 0.9 * share * size
        for side, sign in product(range(len(z)), (-1, 1)):
            low, high = z - half, z + half
            low[side] = high[side] = z[side] + sign * half[side]
            face = _Bisection(self.dynamics, (low, high), pieces, 1e-6)
            face.run(MOST_ON_FACE, 256)
            if face.waiting or any(map(len, face.solved)) or any(map(len, face.stuck)):
                return half, False
        return half, True


def _contract(pieces: Pieces, low: np.ndarray, high: np.ndarray):
    """Shrink boxes (S, R) around the fixed points that they may hold.

    Returns
    -------
    kept : int (K,), low, high : (K, R)
        The boxes that are not empty.
    linear : bool (K,)
        No unit bends and the one fixed point is the box, up to rounding.
    continuum : bool (K,)
        No unit bends, and a singular linear system is solved in the box.
    """
    (S, R), identity = low.shape, np.eye(low.shape[1])
    centre, half = (low + high) / 2, (high - low) / 2
    slope, value, spread, bent = pieces.secants(centre, half)
    outer = (pieces.n.T[:, :, None] * pieces.m[:, None, :]).reshape(-1, R * R)
    A = pieces.linear + (slope @ outer).reshape(S, R, R)
    at_centre = centre @ pieces.linear.T + value @ pieces.n.T + pieces.constant
    room = (np.abs(A) @ half[..., None])[..., 0] + spread @ np.abs(pieces.n).T + pieces.error
    kept = np.flatnonzero((np.abs(at_centre) <= room).all(1))
    A, at_centre, spread, bent, centre, half = (part[kept] for part in (A, at_centre, spread, bent, centre, half))
    Y = _inverse(A)
    miss = np.abs(identity - Y @ A)
    gains = np.abs((Y.reshape(-1, R) @ pieces.n).reshape(len(Y), R, len(pieces.m)))
    radius = miss @ half[..., None] + gains @ spread[..., None] + np.abs(Y) @ pieces.error[:, None]
    radius = radius[..., 0] + 4 * EPS * (np.abs(centre) + half)
    middle = centre - (Y @ at_centre[..., None])[..., 0]
    low, high = np.fmax(low[kept], middle - radius), np.fmin(high[kept], middle + radius)
    full = (low <= high).all(1)
    regular = miss.sum(2).max(1) < 0.5
    # With a singular A, Y is its pseudo-inverse: the middle solves the system if anything does.
    solves = (np.abs(at_centre + (A @ (middle - centre)[..., None])[..., 0]) <= pieces.error).all(1)
    continuum = ~bent & ~regular & solves & (np.abs(middle - centre) <= half + 4 * EPS * np.abs(centre)).all(1)
    return kept[full], low[full], high[full], (~bent & regular)[full], continuum[full]


def _inverse(A: np.ndarray) -> np.ndarray:
    """Inverses of (S, R, R); pseudo-inverses where a determinant is 0 up to rounding."""
    singular = np.abs(np.linalg.det(A)) <= 1e-13 * np.linalg.norm(A, axis=(1, 2)) ** A.shape[1]
    Y = np.linalg.inv(np.where(singular[:, None, None], np.eye(A.shape[1]), A))
    if singular.any():
        Y[singular] = np.linalg.pinv(A[singular], rcond=1e-12)
    return Y
