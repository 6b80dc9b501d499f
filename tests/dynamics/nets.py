"""Networks whose map is known in closed form."""

import numpy as np

from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import Identity, ReLU, Tanh
from nwb_lowrank.searches.base import Dynamics
from nwb_lowrank.sources.synthetic import _set


def net(m, n, h, *, w=None, a=0.5, kind=Tanh) -> LowRankRNN:
    """A float64 network with these parameters."""
    m = np.atleast_2d(np.asarray(m, float))
    inputs = 0 if w is None else np.shape(w)[1]
    model = LowRankRNN(rank=m.shape[1], units=len(m), neurons=3, inputs=inputs, nonlinearity=kind()).double()
    _set(model, m=m, n=n, decay_logit=np.log(a / (1 - a)), **({} if w is None else {"w": w}))
    _set(model.nonlinearity, h=h)
    return model


def linear(matrix) -> LowRankRNN:
    """z ← matrix z, of identity units."""
    R, a = len(matrix), 0.5
    return net(np.eye(R), np.asarray(matrix) - a * np.eye(R), np.zeros(R), a=a, kind=Identity)


def piecewise(linear_part, bends, constant, a=0.5) -> LowRankRNN:
    """z ← linear_part z + Σ c relu(d·z + e) + constant, of ReLU units; bends are (c (R,), d (R,), e)."""
    linear_part, constant = np.atleast_2d(np.asarray(linear_part, float)), np.asarray(constant, float)
    R = len(constant)
    rest = linear_part - a * np.eye(R)
    # x = relu(x) − relu(−x), and relu(0 + 1) = 1
    m = np.vstack([np.eye(R), -np.eye(R), np.zeros((1, R)), *([d] for _, d, _ in bends)])
    n = np.hstack([rest, -rest, constant[:, None], *(np.asarray(c, float)[:, None] for c, _, _ in bends)])
    return net(m, n, [*np.zeros(2 * R), 1.0, *(e for *_, e in bends)], a=a, kind=ReLU)


def tent(slope: float) -> LowRankRNN:
    """x ← slope · min(x, 1 − x)."""
    return piecewise([[slope]], [([-2 * slope], [1.0], -0.5)], [0.0])


def lozi(a: float = 1.7, b: float = 0.5) -> LowRankRNN:
    """x ← 1 − a |x| + y, y ← b x: chaotic, and it shrinks every area by b."""
    bends = [([-a, 0.0], [1.0, 0.0], 0.0), ([-a, 0.0], [-1.0, 0.0], 0.0)]
    return piecewise([[0.0, 1.0], [b, 0.0]], bends, [1.0, 0.0])


def of(model, u=None) -> Dynamics:
    return Dynamics.of(model, u)
