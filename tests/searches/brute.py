"""The naive truth: every linear region of a small network, each solved on its own. And small networks."""

from itertools import product

import numpy as np
import torch

from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import ClippedReLU


def network(rank, units, seed, *, nonlinearity=None, gain=2.0, decay=0.8, inputs=0, dtype=torch.float64):
    """A random network; larger gains give more fixed points."""
    random = np.random.default_rng(seed)
    model = LowRankRNN(rank=rank, units=units, neurons=2 + rank, inputs=inputs, nonlinearity=nonlinearity or ClippedReLU())
    return set_weights(
        model.to(dtype),
        m=random.normal(size=(units, rank)),
        n=gain * random.normal(size=(rank, units)) / np.sqrt(units),
        h=random.normal(size=units),
        w=random.normal(size=(units, inputs)),
        decay=decay,
    )


def set_weights(model, *, decay, **arrays):
    targets = dict(m=model.m, n=model.n, w=model.w, h=model.nonlinearity.h, extent=model.extent)
    with torch.no_grad():
        for name, value in arrays.items():
            targets[name].copy_(torch.as_tensor(np.array(value)).reshape(targets[name].shape))
        model.decay_logit.copy_(torch.logit(torch.tensor(decay, dtype=torch.float64)))
    return model


def weights(model):
    model = [part.detach().double().numpy() for part in (model.m, model.n, model.nonlinearity.h, model.decay_logit)]
    return *model[:3], 1 / (1 + np.exp(-model[3]))


def brute_force(model, drive=0.0, box=None, slack=1e-9):
    """All fixed points of a ReLU or clipped ReLU network, (P, R): for each of the 2^H or 3^H ways to put
    every unit on one of its pieces, solve the linear system and keep a solution that lies on those pieces.

    Written from φ alone: neither kinks() nor slope() of the package is used.
    """
    m, n, h, decay = weights(model)
    R, zero, far = m.shape[1], np.zeros_like(h), np.full_like(h, np.inf)
    if isinstance(model.nonlinearity, ClippedReLU):
        ends = [-far, np.minimum(-h, zero), np.maximum(-h, zero), far]
        # Left 0 for either sign of h; right h; between them x + h or −x.
        slopes, levels = [zero, np.sign(h), zero], [zero, np.where(h > 0, h, zero), h]
    else:
        ends, slopes, levels = [-far, -h, far], [zero, zero + 1], [zero, h]
    units, found = np.arange(len(h)), []
    for pattern in product(range(len(slopes)), repeat=len(h)):
        pick = np.array(pattern)
        slope, level = np.array(slopes)[pick, units], np.array(levels)[pick, units]
        A = (decay - 1) * np.eye(R) + (n * slope) @ m
        z = np.linalg.solve(A, -n @ (level + slope * drive))
        x = m @ z + drive
        if (x >= np.array(ends)[pick, units] - slack).all() and (x <= np.array(ends)[pick + 1, units] + slack).all():
            if not any(np.allclose(z, other, rtol=0, atol=1e-8) for other in found):
                found.append(z)
    found = np.array(found).reshape(-1, R)
    if box is not None:
        found = found[((found >= box[0]) & (found <= box[1])).all(1)]
    return in_order(found)


def in_order(points):
    return points[np.lexsort(np.round(points, 7).T)]
