"""One look at a batch of boxes: which are empty, which hold one fixed point, how far the others shrink. NumPy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .base import EPS, Box

# What became of a box. One point in it, by contraction or by one linear system; a continuum; too small to cut; to be cut.
PROVED, SOLVED, CONTINUUM, STUCK, WAITING = range(5)
BLURRED = 0.01  # the largest relative error of an inverse that is of use
ALONE = 0.99  # the largest rate of contraction that counts as one
THIN = 1 / 16  # a side shorter than this share of the longest is not cut
AGAIN = 0.7  # a box that shrank to this share is looked at again before it is cut


class Look(NamedTuple):
    """Boxes that are not empty, shrunk, and what is known of each (K,)."""

    kept: np.ndarray  # rows of the boxes that came in
    low: np.ndarray
    high: np.ndarray
    solved: np.ndarray  # no unit bends: its one point is the box, up to rounding
    continuum: np.ndarray  # no unit bends, and a singular linear system is solved in the box
    alone: np.ndarray  # at most one point in it
    inside: np.ndarray  # at least one
    side: np.ndarray  # where to cut it


def look(field, low: np.ndarray, high: np.ndarray) -> Look:
    """Shrink boxes (S, R) around the fixed points that they may hold.

    With lines slope, value ± spread near φ, A = linear + n diag(slope) m and Y near A⁻¹, a fixed point z in the box obeys

        |z − c + Y G| ≤ |I − Y A| w + |Y n| spread,     G = linear c + n value + constant.

    N(z) = z − Y (F(z) − z) has slopes within |I − Y A| + |Y n| stray |m| of 0: where that contracts, two points are one.
    """
    centre, half = (low + high) / 2, (high - low) / 2
    slope, value, spread, stray, bent = field.secants(centre, half)
    S, R, H = *centre.shape, len(field.m)
    outer = (field.n.T[:, :, None] * field.m[:, None, :]).reshape(H, R * R)
    A = field.linear + (slope @ outer).reshape(S, R, R)
    G = centre @ field.linear.T + value @ field.n.T + field.constant
    room = (np.abs(A) @ half[..., None])[..., 0] + spread @ np.abs(field.n).T + field.error
    kept = np.flatnonzero((np.abs(G) <= room).all(1))
    A, G, spread, stray, bent, centre, half = (part[kept] for part in (A, G, spread, stray, bent, centre, half))
    Y, sound = inverse(A, field.blur)
    miss = np.abs(np.eye(R) - Y @ A)
    gains = np.abs((Y.reshape(-1, R) @ field.n).reshape(len(Y), R, H))
    base = (miss @ half[..., None] + np.abs(Y) @ field.error[:, None])[..., 0] + 4 * EPS * (np.abs(centre) + half)
    radius = base + (gains @ spread[..., None])[..., 0]
    loose = base + (gains @ (stray * (half @ np.abs(field.m).T + field.slack))[..., None])[..., 0]
    middle = centre - (Y @ G[..., None])[..., 0]
    regular = sound & (miss.sum(2).max(1) < 0.5)
    continuum = ~bent & ~regular
    continuum[continuum] = _solvable(*(part[continuum] for part in (A, Y, G, centre, half)), field.error)
    low, high = np.fmax(centre - half, middle - radius), np.fmin(centre + half, middle + radius)
    inside = ((middle - radius > centre - half) & (middle + radius < centre + half)).all(1)
    # A cut shrinks the deviations most across the side that moves the bent units' currents most.
    pull = (gains / np.where(half > 0, half, np.inf)[..., None]).sum(1) * (spread > 0)
    width = (high - low) * np.linalg.norm(field.m, axis=0)
    pull = np.where(bent[:, None], (pull @ np.abs(field.m)) * (high - low), width)
    side = np.where(width >= THIN * width.max(1, keepdims=True), pull, -1.0).argmax(1)
    full = (low <= high).all(1)
    parts = low, high, ~bent & regular, continuum, regular & (loose < ALONE * half).all(1), inside, side
    return Look(kept[full], *(part[full] for part in parts))


def _solvable(A: np.ndarray, Y: np.ndarray, G: np.ndarray, centre: np.ndarray, half: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The singular systems G + A (z − centre) = 0 that have a solution in the box, up to rounding, (S,).

    With Y a pseudo-inverse, d − Y (G + A d) is the solution nearest to d: going to it and back into the box in turn ends in
    the box's solution, if there is one.
    """
    d = np.zeros_like(centre)
    for _ in range(50):
        off = G + (A @ d[..., None])[..., 0]
        d = np.clip(d - (Y @ off[..., None])[..., 0], -half, half)
    off = G + (A @ d[..., None])[..., 0]
    return (np.abs(off) <= error + 4 * EPS * (np.abs(A) @ np.abs(centre)[..., None])[..., 0]).all(1)


def subtree(field, boxes: np.ndarray, limits: tuple[int, float, float], weight: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Examine boxes (S, 2, R) and what they are cut into, the newest first.

    Parameters
    ----------
    limits : (quota, floor, smallest)
        Boxes to look at; width below which a box is handed back; width below which it is stuck.

    Returns
    -------
    examined : int, kinds : int (K,), boxes : (K, 2, R)
        The boxes that need no further cut, and those still waiting.
    """
    (quota, floor, smallest), waiting, kinds, ended, examined = limits, boxes, [], [], 0
    while len(waiting) and examined < quota:
        count = min(256, quota - examined, len(waiting))
        batch, waiting = waiting[-count:], waiting[:-count]
        examined += count
        seen = look(field.within(batch[:, 0].min(0), batch[:, 1].max(0)), batch[:, 0], batch[:, 1])
        before = ((batch[seen.kept, 1] - batch[seen.kept, 0]) * weight).max(1)
        width = ((seen.high - seen.low) * weight).max(1)
        # One that has just become small may be found empty at the next look.
        shrunk = width <= AGAIN * before
        kind = np.where((width < smallest) & ((before < smallest) | ~shrunk), STUCK, WAITING)
        kind[seen.continuum], kind[seen.alone & seen.inside], kind[seen.solved] = CONTINUUM, PROVED, SOLVED
        boxes, going = np.stack([seen.low, seen.high], 1), (kind == WAITING) & ~((width < floor) & ~shrunk)
        kinds.append(kind[~going])
        ended.append(boxes[~going])
        waiting = np.concatenate([waiting, *_cut(boxes[going], seen.side[going], ~shrunk[going])])
    kinds.append(np.full(len(waiting), WAITING))
    return examined, np.concatenate(kinds), np.concatenate([*ended, waiting])


def _cut(boxes: np.ndarray, side: np.ndarray, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Halve boxes across a side, save those that just shrank by so much that another look is cheaper."""
    left, right = boxes[cut].copy(), boxes[cut].copy()
    rows, side = np.arange(len(left)), side[cut]
    left[rows, 1, side] = right[rows, 0, side] = boxes[cut].mean(1)[rows, side]
    return boxes[~cut], left, right


def inverse(A: np.ndarray, blur: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses of (S, R, R), each known to ± blur, and whether that is enough to know an inverse; if not, pseudo-inverses."""
    plain = np.abs(np.linalg.det(A)) > 1e-13 * np.linalg.norm(A, axis=(1, 2)) ** A.shape[1]
    Y = np.linalg.inv(np.where(plain[:, None, None], A, np.eye(A.shape[1])))
    sound = plain & ((np.abs(Y) @ blur).max((1, 2)) < BLURRED)
    for i in np.flatnonzero(~sound):
        Y[i] = np.linalg.pinv(A[i], rcond=min(1.0, max(1e-12, np.linalg.norm(blur) / BLURRED / max(np.linalg.norm(A[i], 2), 1e-300))))
    return Y, sound


def alone_around(field_of, z: np.ndarray, size: np.ndarray) -> Box | None:
    """The largest of the boxes z ± size / 4ᵏ in which z is proved to be the only fixed point; None: no such proof."""
    half = size * 0.25 ** np.arange(26)[:, None]
    field = field_of(z - half[0], z + half[0])
    for one in half:
        close = field.within(z - one, z + one)
        seen = look(close, (z - one)[None], (z + one)[None])
        if len(seen.kept) and seen.alone[0]:
            return z - one, z + one
    return None
