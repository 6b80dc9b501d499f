"""The paper's enumeration: one linear system for every region between the kinks. Rank 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .base import EPS, Candidates, Dynamics, Search
from .pieces import NOWHERE, Pieces

BATCH = 2048  # regions solved together
SIDE = 1e-9  # planes nearer than this share of the region to where others meet meet there too


class Regions(Search):
    """Every region of the arrangement of kinks in a box, one after the other, each solved exactly (Pals et al. 2024).

    At rank 2 the kinks are lines. Going by the vertices where lines cross loses regions, because clipped ReLU has H lines through
    the origin and each unit's two lines are parallel. But every region has an edge, and an edge is a piece of a line between
    neighbouring crossings: so each line (the box's four edges among them) is walked along, and both sides of each piece are
    solved. Regions are met again at each of their edges: what is given up is time, not memory.

    Parameters
    ----------
    region : (low, high) or None
        Box to search, as `Certified` takes it.

    Notes
    -----
    Points on kinks are met as solutions at the edge of regions. A region whose system is singular and solvable makes the
    result incomplete. About (J H)² / 2 · 4 systems: an oracle for a few hundred units, not a tool for thousands.
    """

    def __init__(self, *, region=None):
        self.region = region

    def candidates(self, dynamics: Dynamics, on_round=None) -> Candidates:
        if not dynamics.nonlinearity.piecewise_linear or dynamics.m.shape[1] > 2:
            raise ValueError(
                f"Regions: needs a piecewise-linear nonlinearity and rank 1 or 2; this model has {type(dynamics.nonlinearity).__name__}, "
                f"rank {dynamics.m.shape[1]}. Use Certified() or Newton()."
            )
        low, high = dynamics.box(self.region)
        pieces = Pieces.of(dynamics, low, high)
        points, solved, singular = [np.empty((0, len(low)))], 0, 0
        for inside in _batches(_samples(pieces, low, high)):
            z, flat = _solve(pieces, inside)
            points.append(z[((z >= low - 1e-9 * (high - low)) & (z <= high + 1e-9 * (high - low))).all(1)])
            solved, singular = solved + len(inside), singular + flat
        reason = f"Every region was solved ({solved} systems)."
        if singular:
            reason += f" {singular} of them are singular and solvable: there is a continuum of fixed points."
        about = dict(region=dict(low=low.tolist(), high=high.tolist()), regions=solved, singular=singular, reason=reason)
        return Candidates(np.clip(np.concatenate(points), low, high), not singular, about)


def _lines(pieces: Pieces, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (L, R) and offsets (L,) of the kinks n·z = c that reach the box, and of the box's faces."""
    rows, units = np.nonzero((pieces.kinks != NOWHERE) & (pieces.jumps != 0))
    normals, offsets = pieces.m[units], pieces.kinks[rows, units] - pieces.drive[units]
    size = np.linalg.norm(normals, axis=1)
    normals, offsets = normals / size[:, None], offsets / size
    faces = np.eye(len(low))
    normals, offsets = np.concatenate([normals, faces, faces]), np.concatenate([offsets, low, high])
    # The same line twice (units that are multiples of one another) is one.
    sign = np.sign(normals[np.arange(len(normals)), np.abs(normals).argmax(1)])
    keys = np.round(np.column_stack([normals, offsets / max(np.abs([low, high]).max(), EPS)]) * sign[:, None], 11)
    first = np.sort(np.unique(keys, axis=0, return_index=True)[1])
    return normals[first], offsets[first]


def _samples(pieces: Pieces, low: np.ndarray, high: np.ndarray) -> Iterator[np.ndarray]:
    """A point (S, R) inside every region, streamed."""
    normals, offsets = _lines(pieces, low, high)
    if len(low) == 1:
        ends = np.unique(np.clip(offsets * normals[:, 0], low, high))
        yield ((ends[1:] + ends[:-1]) / 2)[:, None] if len(ends) > 1 else ends[:, None]
        return
    size = max(np.linalg.norm(high - low), EPS)
    yield ((low + high) / 2)[None]
    for i in range(len(normals)):
        yield from _along(normals, offsets, i, low, high, size)


def _along(normals: np.ndarray, offsets: np.ndarray, i: int, low: np.ndarray, high: np.ndarray, size: float) -> Iterator[np.ndarray]:
    """Both sides of every piece of line i between its crossings with the others.

    Each region has an edge, and each edge is such a piece: so every region is met, whatever lines are parallel or concurrent.
    """
    along = np.array([-normals[i, 1], normals[i, 0]])
    foot = offsets[i] * normals[i]
    speed, gap = normals @ along, offsets - normals @ foot
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = (gap / speed)[np.abs(speed) > 1e-12]
    # The part of the line in the box.
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(low - foot) / along, (high - foot) / along])[:, np.abs(along) > 1e-12]
    still = np.abs(along) <= 1e-12
    if ((foot[still] < low[still] - SIDE * size) | (foot[still] > high[still] + SIDE * size)).any():
        return
    first, last = ends.min(0).max(), ends.max(0).min()
    if not last - first > 0:
        return
    stops = np.unique(np.concatenate([cross[(cross > first) & (cross < last)], [first, last]]))
    middle = foot + ((stops[1:] + stops[:-1]) / 2)[:, None] * along
    # A step off the line that crosses no other: half the way to the nearest.
    distance = np.abs(middle @ normals.T - offsets)
    distance[:, i] = np.inf
    step = 0.5 * np.minimum(distance.min(1), size)[:, None] * normals[i]
    yield np.concatenate([middle + step, middle - step])


def _batches(parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same points in batches of about one size."""
    held: list[np.ndarray] = []
    for part in parts:
        held.append(part)
        if sum(map(len, held)) >= BATCH:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def _solve(pieces: Pieces, inside: np.ndarray) -> tuple[np.ndarray, int]:
    """Solutions that lie in their region, up to rounding, from a point (S, R) inside each; and how many regions are singular and
    hold solutions."""
    (S, R), H = inside.shape, len(pieces.m)
    x = inside @ pieces.m.T + pieces.drive
    above = x > pieces.kinks[:, None]
    slope = pieces.slope + np.einsum("jh,jsh->sh", pieces.jumps, above)
    there = np.where(pieces.kinks == NOWHERE, 0.0, pieces.kinks)
    level = pieces.level - np.einsum("jh,jsh->sh", pieces.jumps * there, above)
    outer = (pieces.n.T[:, :, None] * pieces.m[:, None, :]).reshape(H, R * R)
    A = pieces.linear + (slope @ outer).reshape(S, R, R)
    b = pieces.constant + (level + slope * pieces.drive) @ pieces.n.T
    sizes = np.linalg.svd(A, compute_uv=False)
    singular = sizes[:, -1] <= 1e-10 * np.maximum(sizes[:, 0], 1e-3)
    z = -np.linalg.solve(np.where(singular[:, None, None], np.eye(R), A), b[..., None])[..., 0]
    x = z @ pieces.m.T + pieces.drive
    room = 1e-9 * (np.abs(x) + np.abs(there).max(0, initial=0) + np.abs(pieces.m).sum(1) * np.abs(z).max(1, initial=0)[:, None]) + 1e-300
    holds = np.where(above, x >= pieces.kinks[:, None] - room, x <= pieces.kinks[:, None] + room).all((0, 2))
    flat = 0
    for i in np.flatnonzero(singular):
        flat += _solvable(pieces, A[i], b[i], above[:, i])
    return z[holds & ~singular], flat


def _solvable(pieces: Pieces, A: np.ndarray, b: np.ndarray, above: np.ndarray) -> bool:
    """A solution of the singular system A z + b = 0 lies in the region `above` (J, H)."""
    from scipy.optimize import linprog

    sign = np.where(above, -1.0, 1.0)
    rows = (sign[..., None] * pieces.m)[pieces.kinks != NOWHERE]
    bounds = (sign * (pieces.kinks - pieces.drive))[pieces.kinks != NOWHERE]
    if np.linalg.norm(A @ np.linalg.lstsq(A, -b)[0] + b) > 1e-9 * max(np.linalg.norm(b), 1.0):
        return False
    weights, values = np.linalg.svd(A)[1:]
    equal = values[weights > 1e-10 * max(weights[0], 1e-3)]
    start = np.linalg.lstsq(A, -b)[0]
    found = linprog(np.zeros(len(b)), A_ub=rows, b_ub=bounds + 1e-9, A_eq=equal if len(equal) else None,
                    b_eq=equal @ start if len(equal) else None, bounds=(None, None))  # fmt: skip
    return found.status == 0
