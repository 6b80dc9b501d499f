"""Small networks, and the naive truth about them: every linear region, each solved on its own.

Written from the formulas of φ alone: neither kinks() nor slope() of the package is used.
"""

from itertools import product

import numpy as np
import torch

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
    """All fixed points (P, R): put every unit on each of its pieces, solve, keep a solution that lies on them."""
    m, n, h = (part.detach().double().numpy() for part in (model.m, model.n, model.nonlinearity.h))
    decay = float(torch.sigmoid(model.decay_logit.detach().double()))
    ends, slopes, levels = pieces(model.nonlinearity, h)
    choice = np.array(list(product(range(len(slopes)), repeat=len(h))))
    units = np.arange(len(h))
    slope, level = slopes[choice, units], levels[choice, units]
    A = (decay - 1) * np.eye(model.rank) + np.einsum("rh,ph,hs->prs", n, slope, m)
    z = np.linalg.solve(A, -((level + slope * drive) @ n.T)[..., None])[..., 0]
    x = z @ m.T + drive
    z = z[((x >= ends[choice, units] - slack) & (x <= ends[choice + 1, units] + slack)).all(1)]
    if box is not None:
        z = z[((z >= box[0]) & (z <= box[1])).all(1)]
    kept = []
    for point in z:  # a point on a kink solves several regions
        if not any(np.allclose(point, other, rtol=0, atol=1e-8) for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, model.rank)


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
