"""What Certified's compiled loop does with all units of a box, several at a time.

Units are columns of a table, so that a processor's vector unit takes LANES of them together: no branches, and no stores that could
overlap what is read. Rows: m, n (R each), drive, slack, level, slope, kinks, jumps, φ(kinks) (J each). R and J are lengths of tuples,
so that the compiler knows them.
"""

import numba
import numpy as np
from numba.core.compiler import Compiler

from .pieces import LANES


class Apart(Compiler):
    """Arrays that are passed to a function do not overlap: what the compiler must know to keep sums in registers."""

    def __init__(self, *state):
        super().__init__(*state)
        self.state.flags.noalias = True


plain = numba.njit(nogil=True, cache=True)
# Sums may be ordered anew (their rounding is bounded for any order); infinities and NaN stay what they are.
compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"}, pipeline_class=Apart)


@compiled
def secants(dims, kinks, units, blocks, box, settled, sums, bends):
    """Sum the lines of all units in the box: F(z) − z = value + A (z − centre) ± spread. Returned is how many units bend in it.

    settled : the lines (R, R) of the units that are not in the table, row by row, then their values at z = 0 (R,)
    sums : value (R,), A (R R,), spread (R,), written anew
    bends : half the range of the deviations; the slope's largest stray, times half the current's range; of each unit
    """
    (centre, half), (value, A, spread), (off, loose) = box, sums, bends
    R, J = len(dims), len(kinks)
    many = 0.0
    for r in range(R):
        value[r], spread[r] = settled[R * R + r], 0.0
        for s in range(R):
            A[r * R + s] = settled[r * R + s]
            value[r] += settled[r * R + s] * centre[s]
    for k in range(LANES * blocks):
        x, w = units[2 * R, k], units[2 * R + 1, k]
        for r in range(R):
            x += units[r, k] * centre[r]
            w += abs(units[r, k]) * half[r]
        low, high, piece = x - w, x + w, units[2 * R + 3, k]
        bottom, top = units[2 * R + 2, k] + piece * low, units[2 * R + 2, k] + piece * high
        inside = 0.0
        for j in range(J):
            kink, jump = units[2 * R + 4 + j, k], units[2 * R + 4 + J + j, k]
            bottom += jump * max(low - kink, 0.0)
            top += jump * max(high - kink, 0.0)
            inside += 1.0 if (low <= kink) & (kink <= high) else 0.0
            piece += jump if kink < low else 0.0
        slope = (top - bottom) / (2 * w) if inside > 0 else piece
        bottom, top, stray = bottom + slope * w, top - slope * w, abs(piece - slope)
        least, most = min(bottom, top), max(bottom, top)
        for j in range(J):
            kink = units[2 * R + 4 + j, k]
            here = (low <= kink) & (kink <= high)
            y = units[2 * R + 4 + 2 * J + j, k] - slope * (kink - x) if here else bottom
            least, most = min(least, y), max(most, y)
            piece += units[2 * R + 4 + J + j, k] if here else 0.0
            stray = max(stray, abs(piece - slope))
        off[k] = 0.5 * (most - least) if inside > 0 else 0.0
        loose[k] = stray * w if inside > 0 else 0.0
        many += 1.0 if inside > 0 else 0.0
        for r in range(R):
            n = units[R + r, k]
            value[r] += n * (0.5 * (least + most))
            spread[r] += abs(n) * (0.5 * (most - least) if inside > 0 else 0.0)
            for s in range(R):
                A[r * R + s] += n * slope * units[s, k]
    return int(many)


@compiled
def envelope(dims, kinks, units, blocks, box, settled, y, above):
    """A plane above y · (F(z) − z) in the box: height at the centre `above` [0], slopes `above` [1:], written anew.

    (y · n_i) φ_i lies below a line of any slope through the highest of its ends and kinks; of the slopes of the secant and of φ at both
    ends the one is taken whose line is lowest at the centre. Unlike `secants` it knows on which side it has to be close.
    """
    (centre, half), R, J = box, len(dims), len(kinks)
    for r in range(R + 1):
        above[r] = 0.0
    for r in range(R):
        above[0] += y[r] * settled[R * R + r]
        for s in range(R):
            above[0] += y[r] * settled[r * R + s] * centre[s]
            above[1 + s] += y[r] * settled[r * R + s]
    for k in range(LANES * blocks):
        x, w, q = units[2 * R, k], units[2 * R + 1, k], 0.0
        for r in range(R):
            x += units[r, k] * centre[r]
            w += abs(units[r, k]) * half[r]
            q += y[r] * units[R + r, k]
        low, high, first = x - w, x + w, units[2 * R + 3, k]
        bottom, top = units[2 * R + 2, k] + first * low, units[2 * R + 2, k] + first * high
        last = first
        for j in range(J):
            kink, jump = units[2 * R + 4 + j, k], units[2 * R + 4 + J + j, k]
            bottom += jump * max(low - kink, 0.0)
            top += jump * max(high - kink, 0.0)
            first += jump if kink < low else 0.0
            last += jump if kink <= high else 0.0
        bottom, top, first, last = q * bottom, q * top, q * first, q * last
        slope = (top - bottom) / (2 * w)
        height, one, other = (
            max(bottom + slope * w, top - slope * w),
            max(bottom + first * w, top - first * w),
            max(bottom + last * w, top - last * w),
        )
        for j in range(J):
            kink, value = units[2 * R + 4 + j, k], q * units[2 * R + 4 + 2 * J + j, k]
            here = (low <= kink) & (kink <= high)
            height = max(height, value - slope * (kink - x) if here else height)
            one = max(one, value - first * (kink - x) if here else one)
            other = max(other, value - last * (kink - x) if here else other)
        slope, height = first if one < height else slope, min(one, height)
        slope, height = last if other < height else slope, min(other, height)
        above[0] += height
        for r in range(R):
            above[1 + r] += slope * units[r, k]


@compiled
def settle(dims, kinks, units, blocks, centre, loose, settled):
    """Add the lines of the units that do not bend to `settled`."""
    R, J = len(dims), len(kinks)
    for k in range(LANES * blocks):
        x, rest, slope = units[2 * R, k], units[2 * R + 2, k], units[2 * R + 3, k]
        for r in range(R):
            x += units[r, k] * centre[r]
        for j in range(J):
            kink, jump = units[2 * R + 4 + j, k], units[2 * R + 4 + J + j, k]
            slope += jump if kink < x else 0.0
            rest -= jump * kink if kink < x else 0.0
        slope = 0.0 if loose[k] > 0 else slope
        rest = 0.0 if loose[k] > 0 else rest + slope * units[2 * R, k]
        for r in range(R):
            settled[R * R + r] += units[R + r, k] * rest
            for s in range(R):
                settled[r * R + s] += units[R + r, k] * slope * units[s, k]


@plain
def gather(units, blocks, loose, into):
    """Copy the columns of the units that bend, and idle ones up to whole blocks, whose number is returned; `into` may be `units`."""
    kept, last = np.empty(LANES * blocks, np.int64), units.shape[1] - 1
    count = 0
    for k in range(LANES * blocks):
        kept[count] = k
        count += loose[k] > 0
    blocks = (count + LANES - 1) // LANES
    kept[count : LANES * blocks] = last
    for p in range(units.shape[0]):
        for k in range(LANES * blocks):
            into[p, k] = units[p, kept[k]]
        into[p, last] = units[p, last]
    return blocks


@compiled
def loosen(dims, units, blocks, Y, bends, sizes):
    """The bent units' share of the radii, and how much each side of the box has to do with it."""
    (off, loose), (_, radius, lonely, scale, smear), R = bends, sizes, len(dims)
    for k in range(LANES * blocks):
        total = 0.0
        for r in range(R):
            gain = 0.0
            for s in range(R):
                gain += Y[r * R + s] * units[R + s, k]
            gain = abs(gain)
            radius[r] += gain * off[k]
            lonely[r] += gain * loose[k]
            total += gain * scale[r] if loose[k] > 0 else 0.0
        for r in range(R):
            smear[r] += total * abs(units[r, k])
