"""Sets of fixed points that are not isolated (continuous attractors): how many, of which dimension, how far they reach."""

from __future__ import annotations

from itertools import product

import numpy as np

from .base import Dynamics
from .boxes import inverse

MOST_TOUCHING = 3000  # boxes compared pair by pair; more are first gathered in cells
MOST_FLAT = 500  # the widest boxes of a continuum, whose part of it is worked out; of others only the middle counts
CELLS = 48  # along the longest side of a set, to see whether it closes on itself
MOST_SAMPLES = 32  # points of a set that are kept


def continua(dynamics: Dynamics, field, flat: np.ndarray, undecided: np.ndarray, smallest: float) -> list[dict]:
    """Describe what is left when all isolated points are found.

    Parameters
    ----------
    flat : (F, 2, R)
        Boxes without a bend, in which a singular linear system has solutions.
    undecided : (U, 2, R)
        Small boxes that nothing decides.
    smallest : float
        Sets that reach no further than ten times this are points.

    Returns
    -------
    list of dict (JSON values)
        dimension; shape ("point", "line", "ring", "branching line", "surface", ...); kind ("attractor" if every other direction
        contracts, else "repeller" or "saddle"; None if nothing could be verified); low, high (R,); length of the diagonal;
        boxes; points (S, R), verified fixed points of it.
    """
    flat = flat[np.argsort(-np.ptp(flat, axis=1).max(1), kind="stable")]
    flat, undecided = flat[:MOST_FLAT], np.concatenate([flat[MOST_FLAT:], undecided])
    pieces = [_segment(field, box) for box in flat]
    boxes = np.concatenate([flat, undecided])
    if not len(boxes):
        return []
    label = components(boxes, 4 * smallest)
    sets = []
    for one in range(label.max() + 1):
        rows = np.flatnonzero(label == one)
        ends = [pieces[i] for i in rows if i < len(flat)]
        middles = boxes[rows[rows >= len(flat)]].mean(1)
        sets.append(_describe(dynamics, ends, middles, len(rows), smallest))
    return sorted(sets, key=_by_place)


def shape(dimension: int) -> str:
    """What a set of this dimension is called."""
    return {0: "point", 1: "line", 2: "surface"}.get(dimension, f"{dimension}-dimensional set")


def _by_place(entry: dict) -> tuple:
    return -entry["dimension"], entry["low"]


def _segment(field, box: np.ndarray) -> tuple[int, np.ndarray]:
    """Dimension, and points (P, R) of the affine set of fixed points in a box without a bend: the ends of a line, or the
    corners of the box dropped onto a plane."""
    pieces, centre, half = field.within(*box), box.mean(0), np.ptp(box, axis=0) / 2
    slope, value, *_ = pieces.secants(centre[None], half[None])
    A = pieces.linear + (pieces.n * slope[0]) @ pieces.m
    z = centre - inverse(A[None], field.blur)[0][0] @ (pieces.linear @ centre + pieces.n @ value[0] + pieces.constant)
    _, sizes, directions = np.linalg.svd(A)
    null = directions[sizes <= 1e-9 * max(sizes.max(), np.abs(field.linear).max())]
    if len(null) == 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = (np.stack([box[0] - z, box[1] - z]) / null[0])[:, np.abs(null[0]) > 1e-12]
        t = np.array([np.minimum(*reach).max(), np.maximum(*reach).min()])
        return 1, z + t[:, None] * null[0] if t[0] <= t[1] else z[None]
    corners = np.array(list(product(*box.T)))
    dropped = z + (corners - z) @ null.T @ null
    inside = (np.abs(dropped - centre) <= half * (1 + 1e-9)).all(1)
    return len(null), np.concatenate([z[None], dropped[inside]])


def components(boxes: np.ndarray, room: float) -> np.ndarray:
    """A number for each box (K, 2, R), the same for boxes that touch (within `room`) or are joined by others that do."""
    if not len(boxes):
        return np.empty(0, int)
    cells, cell_of = boxes, np.arange(len(boxes))
    if len(boxes) > MOST_TOUCHING:
        side = max(np.ptp(boxes, axis=(0, 1)).max() / CELLS, room)
        _, cell_of = np.unique(np.floor(boxes.mean(1) / side), axis=0, return_inverse=True)
        cell_of = cell_of.reshape(-1)
        order = np.argsort(cell_of, kind="stable")
        first = np.searchsorted(cell_of[order], np.arange(cell_of.max() + 1))
        cells = np.stack([np.minimum.reduceat(boxes[order, 0], first), np.maximum.reduceat(boxes[order, 1], first)], 1)
        room = max(room, side / 2)
    label = np.arange(len(cells))
    for i in range(len(cells)):
        touching = ((cells[:, 0] <= cells[i, 1] + room) & (cells[:, 1] >= cells[i, 0] - room)).all(1)
        joined = np.unique(label[touching])
        label[np.isin(label, joined)] = joined[0]
    return np.unique(label, return_inverse=True)[1].reshape(-1)[cell_of]


def _describe(dynamics: Dynamics, ends: list[tuple[int, np.ndarray]], middles: np.ndarray, boxes: int, smallest: float) -> dict:
    everything = np.concatenate([points for _, points in ends] + [middles])
    low, high = everything.min(0), everything.max(0)
    size = float(np.linalg.norm(high - low))
    verified = everything[(np.abs(dynamics.change(everything)) <= 4 * dynamics.rounding(everything)).all(1)]
    dimension = 0 if size <= 10 * smallest else max([1, *(nullity for nullity, _ in ends)])
    name = shape(dimension)
    if dimension == 1:
        name = _curve([points for _, points in ends] + [point[None] for point in middles], low, high)
    samples = verified[np.unique(np.linspace(0, len(verified) - 1, MOST_SAMPLES).astype(int))] if len(verified) else verified
    return dict(dimension=dimension, shape=name, kind=kind_across(dynamics, samples, dimension), low=low.tolist(), high=high.tolist(),
                length=size, boxes=boxes, points=samples.tolist())  # fmt: skip


def kind_across(dynamics: Dynamics, samples: np.ndarray, dimension: int) -> str | None:
    """What the directions across the set do, at most of its samples (at a bend the slope is that of one side)."""
    if not len(samples):
        return None
    eigenvalues = np.linalg.eigvals(dynamics.jacobian(samples))
    order = np.argsort(np.abs(eigenvalues - 1), axis=1)  # the directions along the set come first: they do not move
    across = np.abs(np.take_along_axis(eigenvalues, order, 1))[:, dimension:]
    unstable = int(np.median((across >= 1).sum(1)))
    return "attractor" if unstable == 0 else "repeller" if unstable == across.shape[1] else f"saddle ({unstable} unstable)"


def _curve(parts: list[np.ndarray], low: np.ndarray, high: np.ndarray) -> str:
    """Whether a curve closes on itself, by the Euler characteristic of the cells that it passes: 1 for a line, 0 for a ring."""
    side = (high - low).max() / CELLS
    steps = np.linspace(0, 1, 2 * CELLS)[:, None]
    along = np.concatenate([part[:1] + steps * (part[-1:] - part[:1]) if len(part) > 1 else part for part in parts])
    cells = np.unique(np.floor((along - low) / side + 1e-6).astype(int), axis=0)
    corner = np.array(list(product((0, 1, 2), repeat=cells.shape[1])))
    faces = np.unique((2 * cells[:, None] + corner).reshape(-1, cells.shape[1]), axis=0)
    characteristic = int(np.where((faces % 2).sum(1) % 2 == 0, 1, -1).sum())
    return {1: "line", 0: "ring"}.get(characteristic, "branching line")
