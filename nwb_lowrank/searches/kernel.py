"""The inner loop of Certified for piecewise-linear φ, box by box, compiled by numba (imported only where numba is).

`search` does box by box what `boxes.look` does for a batch, and one thing more: a plane above F(z) − z in the direction in which that
is likely to be furthest from 0 (`lanes.envelope`) leaves three to five times fewer boxes at rank 4. Where a good part of the units do
not bend in a box, its parts look at a smaller table of the others; those have joined its linear part.
"""

import numpy as np

from .boxes import AGAIN, ALONE, BLURRED, CONTINUUM, PROVED, SOLVED, STUCK, THIN, WAITING
from .lanes import compiled, envelope, gather, loosen, secants, settle
from .pieces import LANES

DEPTH = 96  # cuts below the box that a job starts with
EPS = 2.0**-52
EMPTY, REPEAT, CUT = -1, -2, -3  # what else may become of a box


def tables(units: np.ndarray) -> np.ndarray:
    """Room (S, P, columns) for all the tables of one path of cuts, the first of them `units` (P, columns)."""
    count, blocks = 1, units.shape[1] // LANES
    while blocks:
        count, blocks = count + 1, _fewer(blocks)
    space = np.empty((count, *units.shape))
    space[0] = units
    return space


@compiled
def _fewer(blocks):
    """A smaller table pays if it has no more than this many blocks."""
    return 3 * blocks // 4


@compiled
def _empty(dims, half, sums, error, y):
    """True where F(z) − z cannot be 0 in the box. Else y is the direction in which it is likely to be furthest from 0, made negative."""
    (value, A, spread), R, empty = sums, len(dims), False
    for r in range(R):
        room = spread[r] + error[r]
        for s in range(R):
            room += abs(A[r * R + s]) * half[s]
        empty |= abs(value[r]) > room
        y[r] = -value[r] / (room * room) if room > 0 else 0.0
    return empty


@compiled
def _halfspace(dims, box, above, error, y, trimmed):
    """Cut the box down to where a plane above y · (F(z) − z) is not negative; True where it is so nowhere."""
    (centre, half), (low, high), R, top = box, trimmed, len(dims), above[0]
    for r in range(R):
        # The plane is rounded more often than the sums that `error` bounds.
        top += abs(above[1 + r]) * half[r] + 4 * abs(y[r]) * error[r]
    for r in range(R):
        low[r], high[r] = centre[r] - half[r], centre[r] + half[r]
        slope = abs(above[1 + r])
        if top < 2 * slope * half[r]:
            keep = top / slope + 4 * EPS * (abs(centre[r]) + half[r])
            if above[1 + r] > 0:
                low[r] = max(low[r], high[r] - keep)
            else:
                high[r] = min(high[r], low[r] + keep)
    return top < 0


@compiled
def _inverse(dims, A, Y, work):
    """Y near the inverse of A by Gauss-Jordan elimination, with row exchanges; the identity and False where A is singular."""
    R, regular, largest = len(dims), True, 0.0
    for r in range(R):
        for s in range(R):
            largest = max(largest, abs(A[r * R + s]))
            work[r, s] = A[r * R + s]
            work[r, R + s] = 1.0 if r == s else 0.0
    for r in range(R):
        pivot = r
        for s in range(r + 1, R):
            if abs(work[s, r]) > abs(work[pivot, r]):
                pivot = s
        if abs(work[pivot, r]) <= 1e-13 * largest:
            regular = False
            break
        if pivot != r:
            for s in range(2 * R):
                work[r, s], work[pivot, s] = work[pivot, s], work[r, s]
        scale = 1.0 / work[r, r]
        for s in range(2 * R):
            work[r, s] *= scale
        for q in range(R):
            if q != r:
                scale = work[q, r]
                for s in range(2 * R):
                    work[q, s] -= scale * work[r, s]
    for r in range(R):
        for s in range(R):
            Y[r * R + s] = work[r, R + s] if regular else (1.0 if r == s else 0.0)
    return regular


@compiled
def _shrink(dims, box, sums, Y, error, blur, sizes):
    """The linear part's share of middle ± radius, to which the box shrinks; True where Y is near enough to the inverse.

    sizes : middle, radius, radius if slopes stray too, 1 / half and 0 (R,), written anew
    """
    (centre, half), (value, A, _), (middle, radius, lonely, scale, smear) = box, sums, sizes
    R, regular = len(dims), True
    for r in range(R):
        middle[r], reach, missed = centre[r], 4 * EPS * (abs(centre[r]) + half[r]), 0.0
        for s in range(R):
            middle[r] -= Y[r * R + s] * value[s]
            reach += abs(Y[r * R + s]) * error[s]
            off, vague = 1.0 if r == s else 0.0, 0.0
            for q in range(R):
                off -= Y[r * R + q] * A[q * R + s]
                vague += abs(Y[r * R + q]) * blur[q, s]
            reach += abs(off) * half[s]
            missed += abs(off)
            regular &= vague < BLURRED
        regular &= missed < 0.5
        radius[r], lonely[r], smear[r] = reach, reach, 0.0
        scale[r] = 1.0 / half[r] if half[r] > 0 else 0.0
    return regular


@compiled
def _meet(dims, box, trimmed, sizes, weight):
    """Cut the trimmed box down to middle ± radius: whether nothing is left, whether its fixed point is proved alone, and its width."""
    (centre, half), (middle, radius, lonely, _, _) = box, sizes
    empty, alone, newest = False, True, 0.0
    for r in range(len(dims)):
        a, b = trimmed[0][r], trimmed[1][r]
        alone &= (middle[r] - radius[r] > a) & (middle[r] + radius[r] < b) & (lonely[r] < ALONE * half[r])
        a, b = max(a, middle[r] - radius[r]), min(b, middle[r] + radius[r])
        empty |= a > b
        centre[r], half[r] = 0.5 * (a + b), 0.5 * (b - a)
        newest = max(newest, 2 * half[r] * weight[r])
    return empty, alone, newest


@compiled
def _enter(dims, corners, weight, box):
    """Centre and half the sides of the box with these corners (2, R), and its width."""
    (centre, half), widest = box, 0.0
    for r in range(len(dims)):
        centre[r], half[r] = 0.5 * (corners[0, r] + corners[1, r]), 0.5 * (corners[1, r] - corners[0, r])
        widest = max(widest, 2 * half[r] * weight[r])
    return widest


@compiled
def _leave(dims, box, corners):
    centre, half = box
    for r in range(len(dims)):
        corners[0, r], corners[1, r] = centre[r] - half[r], centre[r] + half[r]


@compiled
def _verdict(empty, certain, bent, before, now, floor, smallest):
    """What becomes of a box that was so wide and is now so wide; certain: regular, and its point alone where a unit bends."""
    if empty:
        return EMPTY
    if certain:
        return PROVED if bent else SOLVED
    if now < smallest and (before < smallest or now > AGAIN * before):
        return STUCK
    if bent == 0:
        return CONTINUUM
    if now <= AGAIN * before:
        return REPEAT
    return WAITING if now < floor else CUT


@compiled
def _cut(dims, box, smear, weight, newest, halves):
    """Write the two halves (2, 2, R) of a box, cut across the side that has most to do with its bends and is not too thin."""
    (centre, half), side, best = box, 0, -1.0
    for r in range(len(dims)):
        if 2 * half[r] * weight[r] >= THIN * newest and smear[r] * half[r] > best:
            side, best = r, smear[r] * half[r]
    for r in range(len(dims)):
        for c in range(2):
            halves[c, 0, r] = centre[r] - half[r]
            halves[c, 1, r] = centre[r] + half[r]
    halves[0, 1, side] = centre[side]
    halves[1, 0, side] = centre[side]


@compiled
def _look(dims, kinks, units, blocks, settled, field, limits, weight, before, box, sums, bends, sizes, inverse, plane):
    """Shrink a box that was `before` wide: what becomes of it, how many units bend in it, and how wide it is now."""
    (error, blur), (Y, work), (y, above, trimmed) = field, inverse, plane
    bent = secants(dims, kinks, units, blocks, box, settled, sums, bends)
    if _empty(dims, box[1], sums, error, y):
        return EMPTY, bent, before
    envelope(dims, kinks, units, blocks, box, settled, y, above)
    if _halfspace(dims, box, above, error, y, trimmed):
        return EMPTY, bent, before
    regular = _inverse(dims, sums[1], Y, work)
    regular &= _shrink(dims, box, sums, Y, error, blur, sizes)
    loosen(dims, units, blocks, Y, bends, sizes)
    empty, alone, now = _meet(dims, box, trimmed, sizes, weight)
    return _verdict(empty, regular and (bent == 0 or alone), bent, before, now, limits[1], limits[2]), bent, now


@compiled
def search(dims, kinks, space, field, box, limits, found):
    """Examine the subtree of one box, depth first.

    Parameters
    ----------
    dims, kinks : tuples of R and J zeros
    space : array (tables, P, columns)
        What `tables` makes of `Pieces.table`.
    field : linear (R, R), constant (R,), error (R,), blur (R, R), weight (R,)
    box : (2, R)
    limits : (quota, floor, smallest)
        Boxes to examine; width below which a box is handed back; width below which it is stuck.
    found : (S, 2, R) buffer

    Returns
    -------
    examined, then how many boxes of each kind (`boxes.PROVED` to `boxes.WAITING`) stand in `found`, in that order; a
    CONTINUUM is here any box without a bend in which the linear system is singular. Examined is −1 if the buffer was full.
    """
    (linear, constant, error, blur, weight), R, columns = field, len(dims), space.shape[2]
    settled, blocks, homes = np.empty((len(space), R * R + R)), np.empty(len(space), np.int64), np.zeros(DEPTH + 1, np.int64)
    stack, depth, kind = np.empty((2 * DEPTH + 2, 2, R)), np.empty(2 * DEPTH + 2, np.int64), np.empty(len(found), np.int8)
    here, inverse = (np.empty(R), np.empty(R)), (np.empty(R * R), np.empty((R, 2 * R)))
    sums, bends = (np.empty(R), np.empty(R * R), np.empty(R)), (np.empty(columns), np.empty(columns))
    sizes = (np.empty(R), np.empty(R), np.empty(R), np.empty(R), np.empty(R))
    plane = np.empty(R), np.empty(R + 1), (np.empty(R), np.empty(R))
    settled[0, : R * R], settled[0, R * R :] = linear.ravel(), constant
    blocks[0], stack[0], depth[0] = columns // LANES, box, 1
    top, examined, filled = 1, 0, 0
    while top > 0:
        top -= 1
        d = depth[top]
        if filled + top + 4 >= len(found):
            return -1, 0, 0, 0, 0, 0
        if examined >= limits[0] or d >= DEPTH:
            found[filled], kind[filled] = stack[top], WAITING
            filled += 1
            continue
        width, home, own, verdict = _enter(dims, stack[top], weight, here), homes[d - 1], homes[d - 1] + 1, REPEAT
        while verdict == REPEAT:
            examined += 1
            verdict, bent, width = _look(dims, kinks, space[home], blocks[home], settled[home], (error, blur), limits, weight, width,
                                         here, sums, bends, sizes, inverse, plane)  # fmt: skip
            if verdict < EMPTY and bent <= LANES * _fewer(blocks[home]):
                settled[own] = settled[home]
                settle(dims, kinks, space[home], blocks[home], here[0], bends[1], settled[own])
                blocks[own], home = gather(space[home], blocks[home], bends[1], space[own]), own
        if verdict == CUT:
            homes[d] = home
            _cut(dims, here, sizes[4], weight, width, stack[top : top + 2])
            depth[top], depth[top + 1] = d + 1, d + 1
            top += 2
        elif verdict != EMPTY:
            kind[filled] = verdict
            _leave(dims, here, found[filled])
            filled += 1
    order = np.argsort(kind[:filled], kind="mergesort")
    found[:filled] = found[:filled][order]
    return (examined, (kind[:filled] == 0).sum(), (kind[:filled] == 1).sum(), (kind[:filled] == 2).sum(),
            (kind[:filled] == 3).sum(), (kind[:filled] == 4).sum())  # fmt: skip
