"""The inner loop of Certified for piecewise-linear φ, box by box, compiled by numba (imported only where numba is).

`search` does box by box what `boxes.look` does for a batch. The units that bend in a box are looked for only among those
that bend in its parent; the others have joined its linear part. R is the length of a tuple, so that the compiler knows it.
"""

import numba
import numpy as np

BLURRED = 0.01  # the largest relative error of an inverse that is of use
DEPTH = 96  # cuts below the box that a job starts with
EPS = 2.0**-52
THIN = 1 / 16  # a side shorter than this share of the longest is not cut
AGAIN = 0.7  # a box that shrank to less than this share is looked at again before it is cut

# Sums may be ordered anew (their rounding is bounded for any order); infinities and NaN stay what they are.
compiled = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})


@compiled
def _secants(dims, units, parents, many, mine, box, settled, sums, bends):
    """Sum the lines of the units that still bend in the box, and let those that do not join `settled`.

    parents, mine : unit numbers (H,), the first `many` bend in the parent; returned is how many bend here
    settled : lines (R, R), rests (R,)
    sums : value (R,), spread (R,), A (R, R), written anew
    bends : (3, H) half the range of the deviations, half-width of the current, largest stray of the slope
    """
    m, n, drive, slack, kinks, values, slopes, levels = units
    (centre, half), (lines, rests), (value, spread, A) = box, settled, sums
    R, J, bent = len(dims), kinks.shape[1], 0
    for r in range(R):
        value[r] = 0.0
        spread[r] = 0.0
        for s in range(R):
            A[r, s] = 0.0
    for k in range(many):
        i = parents[k]
        x, w = drive[i], slack[i]
        for r in range(R):
            x += m[i, r] * centre[r]
            w += abs(m[i, r]) * half[r]
        left, right = 0, 0
        for j in range(J):
            left += kinks[i, j] < x - w
            right += kinks[i, j] <= x + w
        if left == right:
            slope, rest = slopes[i, left], levels[i, left] + slopes[i, left] * drive[i]
            for r in range(R):
                rests[r] += n[i, r] * rest
                for s in range(R):
                    lines[r, s] += n[i, r] * slope * m[i, s]
            continue
        bottom, high = slopes[i, left] * (x - w) + levels[i, left], slopes[i, right] * (x + w) + levels[i, right]
        slope = (high - bottom) / (2 * w)
        least = min(bottom + slope * w, high - slope * w)
        most = max(bottom + slope * w, high - slope * w)
        stray = max(abs(slopes[i, left] - slope), abs(slopes[i, right] - slope))
        for j in range(left, right):
            y = values[i, j] - slope * (kinks[i, j] - x)
            least, most = min(least, y), max(most, y)
            stray = max(stray, abs(slopes[i, j] - slope))
        mine[bent] = i
        bends[0, bent], bends[1, bent], bends[2, bent] = 0.5 * (most - least), w, stray
        for r in range(R):
            value[r] += n[i, r] * 0.5 * (least + most)
            spread[r] += abs(n[i, r]) * bends[0, bent]
            for s in range(R):
                A[r, s] += n[i, r] * slope * m[i, s]
        bent += 1
    return bent


@compiled
def _empty(dims, box, settled, error, sums):
    """Add the settled units; True where F(z) − z cannot be 0 in the box."""
    (centre, half), (lines, rests), (value, spread, A) = box, settled, sums
    R, empty = len(dims), False
    for r in range(R):
        value[r] += rests[r]
        room = spread[r] + error[r]
        for s in range(R):
            value[r] += lines[r, s] * centre[s]
            A[r, s] += lines[r, s]
            room += abs(A[r, s]) * half[s]
        empty |= abs(value[r]) > room
    return empty


@compiled
def _inverse(dims, A, Y, work):
    """Y near the inverse of A by Gauss-Jordan elimination, with row exchanges; the identity and False where A is singular."""
    R, regular, largest = len(dims), True, 0.0
    for r in range(R):
        for s in range(R):
            largest = max(largest, abs(A[r, s]))
            work[r, s] = A[r, s]
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
            Y[r, s] = work[r, R + s] if regular else (1.0 if r == s else 0.0)
    return regular


@compiled
def _shrink(dims, box, line, error, blur, middle, sizes):
    """The linear part's share of middle ± radius, to which the box shrinks; True where Y is near enough to the inverse.

    sizes : (4, R) radius, radius if slopes stray too, smear of the bends, 1 / half; written anew
    """
    (centre, half), (value, A, Y) = box, line
    R, regular = len(dims), True
    for r in range(R):
        middle[r], radius, missed = centre[r], 4 * EPS * (abs(centre[r]) + half[r]), 0.0
        for s in range(R):
            middle[r] -= Y[r, s] * value[s]
            radius += abs(Y[r, s]) * error[s]
            off, vague = 1.0 if r == s else 0.0, 0.0
            for q in range(R):
                off -= Y[r, q] * A[q, s]
                vague += abs(Y[r, q]) * blur[q, s]
            radius += abs(off) * half[s]
            missed += abs(off)
            regular &= vague < BLURRED
        regular &= missed < 0.5
        sizes[0, r], sizes[1, r], sizes[2, r] = radius, radius, 0.0
        sizes[3, r] = 1.0 / half[r] if half[r] > 0 else 0.0
    return regular


@compiled
def _loosen(dims, units, mine, bent, Y, bends, sizes):
    """The bent units' share of the radii, and how much each side of the box has to do with it."""
    m, n = units[0], units[1]
    R = len(dims)
    for k in range(bent):
        i = mine[k]
        total = 0.0
        for r in range(R):
            gain = 0.0
            for s in range(R):
                gain += Y[r, s] * n[i, s]
            gain = abs(gain)
            sizes[0, r] += gain * bends[0, k]
            sizes[1, r] += gain * bends[2, k] * bends[1, k]
            total += gain * sizes[3, r]
        for r in range(R):
            sizes[2, r] += total * abs(m[i, r])


@compiled
def _meet(dims, box, middle, sizes, weight):
    """Cut the box down to middle ± radius: whether nothing is left, whether its fixed point is proved the only one, and its width."""
    centre, half = box
    empty, alone, newest = False, True, 0.0
    for r in range(len(dims)):
        a, b = centre[r] - half[r], centre[r] + half[r]
        alone &= (middle[r] - sizes[0, r] > a) & (middle[r] + sizes[0, r] < b) & (sizes[1, r] < 0.99 * half[r])
        a, b = max(a, middle[r] - sizes[0, r]), min(b, middle[r] + sizes[0, r])
        empty |= a > b
        centre[r], half[r] = 0.5 * (a + b), 0.5 * (b - a)
        newest = max(newest, 2 * half[r] * weight[r])
    return empty, alone, newest


@compiled
def _cut(dims, box, smear, weight, newest, halves):
    """Write the two halves (2, 2, R) of a box, cut across the side that has most to do with its bends and is not too thin."""
    centre, half = box
    side, best = 0, -1.0
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
def search(dims, units, field, box, limits, found):
    """Examine the subtree of one box, depth first.

    Parameters
    ----------
    dims : tuple of R zeros
    units : m (H, R), n (H, R), drive (H,), slack (H,), kinks (H, J), values (H, J), slopes (H, J + 1), levels (H, J + 1)
        φ(x) = slopes[p] x + levels[p], p the number of kinks below x; values = φ(kinks).
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
    linear, constant, error, blur, weight = field
    quota, floor, smallest = limits
    R, H = len(dims), units[0].shape[0]
    lists, counts = np.empty((DEPTH + 1, H), np.uint32), np.empty(DEPTH + 1, np.int64)
    lines, rests = np.empty((DEPTH + 1, R, R)), np.empty((DEPTH + 1, R))
    stack, level = np.empty((2 * DEPTH + 2, 2, R)), np.empty(2 * DEPTH + 2, np.int64)
    kind = np.empty(found.shape[0], np.int8)
    bends, system = np.empty((3, H)), (np.empty((R, R)), np.empty((R, R)), np.empty((R, 2 * R)))
    centre, half, value, spread, middle = np.empty(R), np.empty(R), np.empty(R), np.empty(R), np.empty(R)
    sizes = np.empty((4, R))
    for i in range(H):
        lists[0, i] = i
    counts[0] = H
    lines[0], rests[0] = linear, constant
    stack[0], level[0] = box, 1
    top, examined, filled = 1, 0, 0
    while top > 0:
        top -= 1
        d = level[top]
        if filled + top + 4 >= found.shape[0]:
            return -1, 0, 0, 0, 0, 0
        if examined >= quota or d >= DEPTH:
            found[filled], kind[filled] = stack[top], 4
            filled += 1
            continue
        widest = 0.0
        for r in range(R):
            centre[r] = 0.5 * (stack[top, 0, r] + stack[top, 1, r])
            half[r] = 0.5 * (stack[top, 1, r] - stack[top, 0, r])
            widest = max(widest, 2 * half[r] * weight[r])
            rests[d, r] = rests[d - 1, r]
            for s in range(R):
                lines[d, r, s] = lines[d - 1, r, s]
        source, many = d - 1, counts[d - 1]
        while True:
            examined += 1
            bent = _secants(
                dims, units, lists[source], many, lists[d], (centre, half), (lines[d], rests[d]), (value, spread, system[0]), bends
            )
            source, many, counts[d] = d, bent, bent
            if _empty(dims, (centre, half), (lines[d], rests[d]), error, (value, spread, system[0])):
                break
            regular = _inverse(dims, *system)
            regular &= _shrink(dims, (centre, half), (value, system[0], system[1]), error, blur, middle, sizes)
            _loosen(dims, units, lists[d], bent, system[1], bends, sizes)
            empty, alone, newest = _meet(dims, (centre, half), middle, sizes, weight)
            if empty:
                break
            if regular and (bent == 0 or alone):
                kind[filled] = 1 if bent == 0 else 0
            elif newest < smallest and (widest < smallest or newest > AGAIN * widest):
                kind[filled] = 3
            elif bent == 0:
                kind[filled] = 2
            elif newest <= AGAIN * widest:
                widest = newest
                continue
            elif newest < floor:
                kind[filled] = 4
            else:
                _cut(dims, (centre, half), sizes[2], weight, newest, stack[top : top + 2])
                level[top], level[top + 1] = d + 1, d + 1
                top += 2
                break
            for r in range(R):
                found[filled, 0, r] = centre[r] - half[r]
                found[filled, 1, r] = centre[r] + half[r]
            filled += 1
            break
    order = np.argsort(kind[:filled], kind="mergesort")
    found[:filled] = found[:filled][order]
    return (examined, (kind[:filled] == 0).sum(), (kind[:filled] == 1).sum(), (kind[:filled] == 2).sum(),
            (kind[:filled] == 3).sum(), (kind[:filled] == 4).sum())  # fmt: skip
