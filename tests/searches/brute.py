"""Small networks, and the naive truth about them: every linear region, each solved on its own.

Written from the formulas of φ alone: neither kinks() nor slope() of the package is used.
"""

from itertools import product

import numpy as np
import torch
from scipy.optimize import linprog

from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import ClippedReLU, ReLU
from nwb_lowrank.nonlinearities.base import Nonlinearity


class Bump(Nonlinearity):
    """max(1 − |x + h|, 0): a nonlinearity that the package has never seen, with three kinks and not monotone."""

    piecewise_linear = True
    bounded = True

    def forward(self, x):
        return (1 - (x + self.h).abs()).relu()

    def slope(self, x):
        y = x + self.h
        return ((y >= -1) & (y < 0)).to(x) - ((y >= 0) & (y < 1)).to(x)

    def kinks(self):
        return torch.stack([-1 - self.h, -self.h, 1 - self.h])


def pieces(nonlinearity, h):
    """Ends (P + 1, H), slopes (P, H) and levels (P, H) of the linear pieces of φ."""
    zero, far = np.zeros_like(h), np.full_like(h, np.inf)
    if isinstance(nonlinearity, ReLU):
        return np.array([-far, -h, far]), np.array([zero, zero + 1]), np.array([zero, h])
    if isinstance(nonlinearity, Bump):
        ends = np.array([-far, -1 - h, -h, 1 - h, far])
        return ends, np.array([zero, zero + 1, zero - 1, zero]), np.array([zero, 1 + h, 1 - h, zero])
    # Clipped ReLU: 0 on the left, h on the right, between them x + h (h > 0) or −x (h < 0).
    ends = np.array([-far, np.minimum(-h, zero), np.maximum(-h, zero), far])
    return ends, np.array([zero, np.sign(h), zero]), np.array([zero, np.maximum(h, 0), h])


def brute_force(model, drive=0.0, box=None, slack=1e-9):
    """All isolated fixed points (P, R): see `brute_force_sets`."""
    return brute_force_sets(model, drive, box, slack)[0]


def brute_force_sets(model, drive=0.0, box=None, slack=1e-9):
    """Put every unit on each of its pieces, solve, keep a solution that lies on them.

    Returns the isolated fixed points (P, R), and the corners (2, R) of the set of solutions in each region whose system is
    singular and solvable, by linear programming.
    """
    m, n, h = (part.detach().double().numpy() for part in (model.m, model.n, model.nonlinearity.h))
    decay = float(torch.sigmoid(model.decay_logit.detach().double()))
    ends, slopes, levels = pieces(model.nonlinearity, h)
    choice = np.array(list(product(range(len(slopes)), repeat=len(h))))
    units = np.arange(len(h))
    slope, level = slopes[choice, units], levels[choice, units]
    A = (decay - 1) * np.eye(model.rank) + np.einsum("rh,ph,hs->prs", n, slope, m)
    b = (level + slope * drive) @ n.T
    singular = np.linalg.svd(A, compute_uv=False)[:, -1] < 1e-10
    z = np.linalg.solve(np.where(singular[:, None, None], np.eye(model.rank), A), -b[..., None])[..., 0]
    x = z @ m.T + drive
    z = z[((x >= ends[choice, units] - slack) & (x <= ends[choice + 1, units] + slack)).all(1) & ~singular]
    if box is not None:
        z = z[((z >= box[0]) & (z <= box[1])).all(1)]
    sets = []
    for i in np.flatnonzero(singular):
        low, high = ends[choice[i], units], ends[choice[i] + 1, units]
        corners = solution_set(A[i], b[i], m, low - drive, high - drive, box)
        if corners is not None and np.ptp(corners, axis=0).max() > 1e-7:
            sets.append(corners)
    kept = []
    for point in z:  # a point on a kink solves several regions; the end of a continuum is not isolated
        joined = any(((point >= low - 1e-7) & (point <= high + 1e-7)).all() for low, high in sets)
        if not joined and not any(np.allclose(point, other, rtol=0, atol=1e-8) for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, model.rank), sets


def solution_set(A, b, m, low, high, box):
    """Corners (2, R) of {z : A z + b = 0, low <= m z <= high, z in the box}; None if there is none."""
    weights, sizes, values = np.linalg.svd(A)
    strong = sizes > 1e-10
    target = -(weights.T @ b)
    if np.abs(target[~strong]).max(initial=0) > 1e-9:
        return None
    rows = np.concatenate([m[np.isfinite(high)], -m[np.isfinite(low)]])
    bounds = np.concatenate([high[np.isfinite(high)], -low[np.isfinite(low)]])
    R = len(b)
    limits = [(None, None)] * R if box is None else list(zip(*box, strict=True))
    corners = np.empty((2, R))
    for r in range(R):
        for k, sign in enumerate((1, -1)):
            found = linprog(sign * np.eye(R)[r], A_ub=rows if len(rows) else None, b_ub=bounds + 1e-10 if len(rows) else None,
                            A_eq=values[strong] if strong.any() else None,
                            b_eq=target[strong] / sizes[strong] if strong.any() else None, bounds=limits)  # fmt: skip
            if found.status != 0:
                return None
            corners[k, r] = found.x[r]
    return corners


def same_points(found, truth, tolerance=1e-9):
    """True if every point of one set is a point of the other, and there are as many."""
    if len(found) != len(truth):
        return False
    distance = np.abs(np.asarray(found)[:, None] - truth[None]).max(2)
    scale = tolerance * (1 + np.abs(truth).max(initial=0))
    return bool(len(truth) == 0 or (distance.min(0) <= scale).all() and (distance.min(1) <= scale).all())


def network(rank, units, seed, *, nonlinearity=None, gain=2.0, decay=0.8, inputs=0, dtype=torch.float64):
    """A random network; the larger the gain, the more fixed points."""
    random = np.random.default_rng(seed)
    return build(
        m=random.normal(size=(units, rank)),
        n=gain * random.normal(size=(rank, units)) / np.sqrt(units),
        h=random.normal(size=units),
        w=random.normal(size=(units, inputs)),
        decay=decay, nonlinearity=nonlinearity, dtype=dtype,
    )  # fmt: skip


@torch.no_grad()
def build(*, m, n, h, decay, w=None, nonlinearity=None, extent=None, dtype=torch.float64):
    """The network of these weights."""
    m, n = np.asarray(m, float), np.asarray(n, float)
    w = np.zeros((len(m), 0)) if w is None else np.asarray(w, float)
    model = LowRankRNN(
        rank=m.shape[1], units=len(m), neurons=2 + m.shape[1], inputs=w.shape[1], nonlinearity=nonlinearity or ClippedReLU()
    ).to(dtype)
    targets = [model.m, model.n, model.w, model.nonlinearity.h, model.decay_logit]
    for target, value in zip(targets, [m, n, w, h, np.log(decay / (1 - decay))], strict=True):
        target.copy_(torch.tensor(np.array(value, dtype=float)))
    if extent is not None:
        model.extent.copy_(torch.as_tensor(extent))
    return model


def random_networks(count, nonlinearity=None, most=7):
    """Networks of rank 1 to 3 with 3 to 6 units, weak to strong, quick to slow."""
    for seed in range(count):
        gain, decay = (1, 2, 4, 8)[seed // 3 % 4], (0.5, 0.8, 0.95)[seed // 12 % 3]
        units = min(3 + seed % 4, most)
        yield network(1 + seed % 3, units, seed, gain=gain, decay=decay, nonlinearity=nonlinearity, inputs=seed % 2)


def odd_network(seed, nonlinearity=None):
    """A small network of rank 1 or 2 with something special: zero, repeated or opposite biases, repeated units, parallel planes,
    a root on a kink, a line of fixed points, or nothing."""
    random, rank, what = np.random.default_rng(seed), 1 + seed % 2, seed // 2 % 8
    units = int(random.integers(3, 7)) if seed % 40 else 9
    m, h = random.normal(size=(units, rank)), random.normal(size=units)
    n = (1, 3, 6)[seed // 16 % 3] * random.normal(size=(rank, units)) / np.sqrt(units)
    decay = (0.5, 0.8, 0.95)[seed // 48 % 3]
    if what == 1:
        h[: units // 2] = 0.0
    elif what == 2:
        h[:] = h[0]
    elif what == 3:
        m[1], h[1] = m[0], h[0]
    elif what == 4:
        m[1], m[2] = 2 * m[0], -m[0]
    elif what == 5:
        h[:] = -np.abs(h)
    elif what >= 6:
        m, n, h = _with_root(random, m, n, h, decay, isinstance(nonlinearity, ReLU), line=what == 7)
    return build(m=m, n=n, h=h, decay=decay, nonlinearity=nonlinearity)


def _with_root(random, m, n, h, decay, relu, line):
    """The same with a fixed point on the kink of unit 0, or with a line of fixed points along a random direction."""
    rank = m.shape[1]
    z, direction = random.normal(size=rank), random.normal(size=rank)
    h[0] = abs(h[0]) + 0.5
    h[1], m[1] = 1.0, 0.0  # a constant unit, which puts the root where it is wanted
    x = m @ z
    if line:  # unit 0 in the middle of its slope at z
        m[0] += (-h[0] / 2 - x[0]) * z / (z @ z)
    else:  # at the left end of it
        h[0] = -x[0] if x[0] < 0 else h[0]
        m[0] += (-h[0] - m[0] @ z) * z / (z @ z)
    x = m @ z
    slope = (x > -h) * 1.0 - (0 if relu else (x > 0) * 1.0)
    if line:
        others = (decay - 1) * direction + (n[:, 1:] * slope[1:]) @ (m[1:] @ direction)
        n[:, 0] = -others / (m[0] @ direction)
    rates = np.maximum(x + h, 0) - (0 if relu else np.maximum(x, 0))
    n[:, 1] = (1 - decay) * z - np.delete(n, 1, 1) @ np.delete(rates, 1)
    return m, n, h
