"""The inner loop of Certified for piecewise-linear φ, box by box. Plain Python that numba compiles; far too slow without it.

`search` does box by box what `boxes.look` does for a batch. The units that bend in a box are looked for only among those
that bend in its parent; the others have joined its linear part. R is the length of a tuple, so that the compiler knows it.
"""

import numpy as np

BLURRED = 0.01  # the largest relative error of an inverse that is of use
DEPTH = 96  # cuts below the box that a job starts with
EPS = 2.0**-52
THIN = 1 / 16  # a side shorter than this share of the longest is not cut
AGAIN = 0.7  # a box that shrank to less than this share is looked at again before it is cut


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
    m, n, drive, slack, kinks, values, slopes, levels = units
    linear, constant, error, blur, weight = field
    quota, floor, smallest = limits
    R, H, J = len(dims), m.shape[0], kinks.shape[1]
    lists, counts = np.empty((DEPTH + 1, H), np.int32), np.empty(DEPTH + 1, np.int64)
    lines, rests = np.empty((DEPTH + 1, R, R)), np.empty((DEPTH + 1, R))
    stack, level = np.empty((2 * DEPTH + 2, 2, R)), np.empty(2 * DEPTH + 2, np.int64)
    kind = np.empty(found.shape[0], np.int8)
    reach, gap, width = np.empty(H), np.empty(H), np.empty(H)
    A, Y, work = np.empty((R, R)), np.empty((R, R)), np.empty((R, 2 * R))
    centre, half, value, spread, room = np.empty(R), np.empty(R), np.empty(R), np.empty(R), np.empty(R)
    radius, loose, smear, middle, per = np.empty(R), np.empty(R), np.empty(R), np.empty(R), np.empty(R)
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
            bent = 0
            for r in range(R):
                value[r] = 0.0
                spread[r] = 0.0
                for s in range(R):
                    A[r, s] = 0.0
            for k in range(many):
                i = lists[source, k]
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
                        rests[d, r] += n[i, r] * rest
                        for s in range(R):
                            lines[d, r, s] += n[i, r] * slope * m[i, s]
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
                lists[d, bent] = i
                gap[bent] = 0.5 * (most - least)
                reach[bent] = w
                width[bent] = stray
                bent += 1
                for r in range(R):
                    value[r] += n[i, r] * 0.5 * (least + most)
                    spread[r] += abs(n[i, r]) * gap[bent - 1]
                    for s in range(R):
                        A[r, s] += n[i, r] * slope * m[i, s]
            source, many, counts[d] = d, bent, bent
            empty = False
            for r in range(R):
                value[r] += rests[d, r]
                room[r] = spread[r] + error[r]
                for s in range(R):
                    value[r] += lines[d, r, s] * centre[s]
                    A[r, s] += lines[d, r, s]
                    room[r] += abs(A[r, s]) * half[s]
                empty |= abs(value[r]) > room[r]
            if empty:
                break
            # Y near the inverse of A, by Gauss-Jordan elimination.
            regular, largest = True, 0.0
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
            # The box shrinks to middle ± radius.
            for r in range(R):
                middle[r], radius[r], smear[r] = centre[r], 4 * EPS * (abs(centre[r]) + half[r]), 0.0
                missed = 0.0
                for s in range(R):
                    middle[r] -= Y[r, s] * value[s]
                    radius[r] += abs(Y[r, s]) * error[s]
                    off = 1.0 if r == s else 0.0
                    for q in range(R):
                        off -= Y[r, q] * A[q, s]
                    radius[r] += abs(off) * half[s]
                    missed += abs(off)
                    vague = 0.0
                    for q in range(R):
                        vague += abs(Y[r, q]) * blur[q, s]
                    regular &= vague < BLURRED
                regular &= missed < 0.5
                loose[r] = radius[r]
                per[r] = 1.0 / half[r] if half[r] > 0 else 0.0
            for k in range(bent):
                i = lists[d, k]
                total = 0.0
                for r in range(R):
                    gain = 0.0
                    for s in range(R):
                        gain += Y[r, s] * n[i, s]
                    gain = abs(gain)
                    radius[r] += gain * gap[k]
                    loose[r] += gain * width[k] * reach[k]
                    total += gain * per[r]
                for r in range(R):
                    smear[r] += total * abs(m[i, r])
            alone, inside, newest = True, True, 0.0
            for r in range(R):
                a, b = centre[r] - half[r], centre[r] + half[r]
                inside &= (middle[r] - radius[r] > a) & (middle[r] + radius[r] < b)
                alone &= loose[r] < 0.99 * half[r]
                a, b = max(a, middle[r] - radius[r]), min(b, middle[r] + radius[r])
                empty |= a > b
                centre[r], half[r] = 0.5 * (a + b), 0.5 * (b - a)
                newest = max(newest, 2 * half[r] * weight[r])
            if empty:
                break
            if regular and (bent == 0 or (alone and inside)):
                kind[filled] = 1 if bent == 0 else 0
            elif newest < smallest and (widest < smallest or newest > AGAIN * widest):
                kind[filled] = 3
            elif bent == 0:
                kind[filled] = 2
            elif newest <= AGAIN * widest:
                widest = newest
                continue
            else:
                if newest < floor:
                    kind[filled] = 4
                else:
                    side, best = 0, -1.0
                    for r in range(R):
                        if 2 * half[r] * weight[r] >= THIN * newest and smear[r] * half[r] > best:
                            side, best = r, smear[r] * half[r]
                    for r in range(R):
                        for c in range(2):
                            stack[top + c, 0, r] = centre[r] - half[r]
                            stack[top + c, 1, r] = centre[r] + half[r]
                    stack[top, 1, side] = centre[side]
                    stack[top + 1, 0, side] = centre[side]
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
