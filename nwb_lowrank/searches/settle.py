"""From boxes to points: every box that was not cut to nothing gives its point, or says why it cannot."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from . import boxes as looks
from .base import EPS, Box, Dynamics, refine
from .bisection import Bisection, field_of
from .continua import components
from .pieces import Pieces

# Heaps of stuck boxes that are looked at, and boxes for one face of one of them: enough for honest kinks, an end for continua.
MOST_SETTLED, MOST_ON_FACE = 100, 20_000


class Settled(NamedTuple):
    """Points (P, R) with the boxes (P, 2, R) in which each is the only one, and boxes (U, 2, R) that nothing decides."""

    points: np.ndarray
    boxes: np.ndarray
    undecided: np.ndarray


def settle(run: Bisection) -> Settled:
    """What the boxes of a finished or interrupted run hold."""
    solved = run.boxes_of(looks.SOLVED)
    points, boxes, undecided = [solved.mean(1)], [solved], []
    proved = run.boxes_of(looks.PROVED)
    if len(proved):
        z, arrived = _inside(run, proved)
        points.append(z[arrived])
        boxes.append(proved[arrived])
        undecided.append(proved[~arrived])
    stuck, flat = run.boxes_of(looks.STUCK), run.boxes_of(looks.CONTINUUM)
    label = components(np.concatenate([flat, stuck]), 4 * run.smallest / run.weight.max())
    # A box that touches a continuum belongs to it.
    for tried, one in enumerate(np.setdiff1d(label, label[: len(flat)])):
        mine = stuck[label[len(flat) :] == one]
        z, around = _decide(run, mine) if tried < MOST_SETTLED else (None, None)
        if around is None:
            undecided.append(mine)
        elif (np.abs(z - np.clip(z, *run.region)) <= run.margin).all():
            points.append(z[None])
            boxes.append(np.stack(around)[None])
    undecided.append(stuck[np.isin(label[len(flat) :], label[: len(flat)])])
    return Settled(np.concatenate(points), np.concatenate(boxes), np.concatenate(undecided))


def _decide(run: Bisection, stuck: np.ndarray) -> tuple[np.ndarray, Box | None]:
    """The only fixed point in a heap of stuck boxes (S, 2, R), and the box in which it is alone; None if that is not proved."""
    z, arrived = _aim(run, stuck[0])
    around = _alone(run.dynamics, z, run.region) if arrived else None
    covered = around is not None and (stuck >= around[0]).all() and (stuck <= around[1]).all()
    return z, around if covered else None


def _inside(run: Bisection, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The one point (P, R) of each box that was proved to hold one, and whether it was reached."""
    low, high = boxes[:, 0] - run.margin, boxes[:, 1] + run.margin
    z, arrived = refine(run.dynamics, boxes.mean(1))
    arrived &= ((z >= low) & (z <= high)).all(1)
    for i in np.flatnonzero(~arrived):
        # Newton left the box; the contraction that proved the point stays in it.
        slope, *_ = run.field.within(*boxes[i]).secants(boxes[i].mean(0)[None], np.ptp(boxes[i], axis=0)[None] / 2)
        field = run.field.within(*boxes[i])
        Y = looks.inverse((field.linear + (field.n * slope[0]) @ field.m)[None], field.blur)[0][0]
        point = boxes[i].mean(0)
        for _ in range(3000):
            point = np.clip(point - Y @ run.dynamics.change(point), *boxes[i])
        z[i : i + 1], arrived[i : i + 1] = refine(run.dynamics, point[None])
        arrived[i] &= bool(((z[i] >= low[i]) & (z[i] <= high[i])).all())
    return z, arrived


def _aim(run: Bisection, box: np.ndarray) -> tuple[np.ndarray, bool]:
    """A fixed point (R,) in or near a stuck box, and whether it is one: where its kinks meet, or by Newton."""
    centre = box.mean(0)
    starts = [centre]
    if isinstance(run.field, Pieces):
        pieces = run.field.within(*box)
        x, units = pieces.m @ centre + pieces.drive, np.arange(len(pieces.m))
        kink = pieces.kinks[np.abs(pieces.kinks - x).argmin(0), units]
        value = pieces.linear @ centre + pieces.n @ pieces.phi(kink) + pieces.constant
        starts.insert(0, centre + np.linalg.lstsq(np.vstack([pieces.m, pieces.linear]), np.concatenate([kink - x, -value]))[0])
    z, arrived = refine(run.dynamics, np.stack(starts))
    # Newton may go far from a box that holds no point: only one that stayed tells of it.
    near = np.abs(z - centre).max(1) <= 1e-3 * np.maximum(run.region[1] - run.region[0], EPS).max()
    best = 0 if arrived[0] and near[0] else -1
    return z[best], bool(arrived[best] and near[best])


def _alone(dynamics: Dynamics, z: np.ndarray, region: Box) -> Box | None:
    """A box in which the fixed point z is proved to be the only one."""
    size = np.maximum(region[1] - region[0], EPS)
    size = np.where(size > 1e-9 * size.max(), size, size.max())

    def around(low, high):
        return field_of(dynamics, low, high)

    found = looks.alone_around(around, z, size)
    if found is None and dynamics.nonlinearity.piecewise_linear:
        found = _alone_on_kinks(dynamics, z, size)
    return found


def _alone_on_kinks(dynamics: Dynamics, z: np.ndarray, size: np.ndarray) -> Box | None:
    """The same for a point on kinks that no contraction reaches.

    In a box in which every kink passes through z, F(z + d) − z is positively homogeneous in d: another fixed point would
    lie on a ray of them that leaves through the surface. So it is enough to search the 2 R faces.
    """
    pieces = Pieces.of(dynamics, z - size, z + size)
    offset = np.abs(pieces.m @ z + pieces.drive - pieces.kinks)
    share = (offset / (np.abs(pieces.m) @ size))[offset > pieces.slack].min(initial=1.0)
    half = 0.9 * share * size
    for side, sign in product(range(len(z)), (-1, 1)):
        low, high = z - half, z + half
        low[side] = high[side] = z[side] + sign * half[side]
        face = Bisection(dynamics, (low, high), 1e-6)
        face.run(MOST_ON_FACE, first=True)
        if len(face.waiting) or any(map(len, (face.boxes_of(kind) for kind in range(4)))):
            return None
    return z - half, z + half
