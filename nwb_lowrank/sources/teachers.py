"""Teacher networks whose dynamics have a name: line and ring attractor, limit cycle, Lorenz chaos (the switch: `decision_teacher`)."""

from __future__ import annotations

import numpy as np

from ..model import LowRankRNN
from ..nonlinearities import Tanh
from ..observations import Poisson
from ..observations.base import Exp
from .synthetic import BIN_WIDTH, DECAY, _set, decision_teacher

LORENZ_STEP = 0.02  # time units of the Lorenz equations in one bin
LORENZ_SIZE, LORENZ_MIDDLE = np.array([8.0, 9.0, 9.0]), np.array([0.0, 0.0, 24.0])  # its coordinates are z · size + middle


def line_teacher(**other) -> LowRankRNN:
    """A rank-2 clipped-ReLU integrator: every point with |z₁| ≤ 1, z₂ = 3/7 z₁ stays where it is.

    z₁ ← a z₁ + (1 − a) ramp(z₁), z₂ ← a z₂ + 0.06 ramp(z₁ − z₂), a = 0.92, ramp(x) = min(max(x, −1), 1). Parameters as in
    `decision_teacher`.
    """
    model = decision_teacher(**other).double()
    gain = 1 - float(model.decay.detach())
    _set(model, n=[[gain, -gain, 0, 0, -gain, 0], [0, 0, 0.06, -0.06, 0, -0.06]])
    return model


def ring_teacher(*, directions: int = 32, gain: float = 2.0, **other) -> LowRankRNN:
    """A rank-2 tanh network with a circle of fixed points of radius 1.

    z ← a z + c Σ_k d_k tanh(g d_k·z), d_k evenly spaced: it turns with its argument (up to a harmonic of order 2 × directions,
    below rounding), and c is such that points at radius 1 stay.

    Parameters
    ----------
    directions : int
        H, over half a circle (tanh is odd).
    gain : float
        g.
    neurons, rate, seed : as in `decision_teacher`
    """
    angle = np.pi * np.arange(directions) / directions
    d = np.stack([np.cos(angle), np.sin(angle)], 1)
    model = _teacher(2, directions, **other)
    radial = (d[:, 0] * np.tanh(gain * d[:, 0])).sum()
    _set(model, m=gain * d, n=(1 - float(model.decay.detach())) / radial * d.T)
    model.initial_noise.set(model.m.new_tensor(np.eye(2)))
    return model


def cycle_teacher(*, hertz: float = 1.5, units: int = 128, **other) -> LowRankRNN:
    """A rank-2 tanh network with a limit cycle of radius 1 at `hertz`, and an unstable spiral in its middle.

    n is fitted by least squares to r ← r + 0.1 r (1 − r²), θ ← θ + 2π hertz Δ over the disk of radius 1.6.
    """
    turn = 2 * np.pi * hertz * BIN_WIDTH
    rotate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])

    def target(z: np.ndarray) -> np.ndarray:
        return (z * (1 + 0.1 * (1 - (z**2).sum(1, keepdims=True)))) @ rotate

    random = np.random.default_rng(other.get("seed", 0))
    z = random.normal(size=(4000, 2))
    z *= 1.6 * np.sqrt(random.uniform(size=(4000, 1))) / np.linalg.norm(z, axis=1, keepdims=True)
    model = regressed(_teacher(2, units, **other), z, target(z), seed=other.get("seed", 0))
    model.initial_noise.set(model.m.new_tensor(np.eye(2)))
    return model


def lorenz_teacher(*, units: int = 512, **other) -> LowRankRNN:
    """A rank-3 tanh network that moves by 0.02 time units of the Lorenz equations (10, 28, 8/3) in every bin.

    n is fitted by least squares to the flow (fourth-order Runge–Kutta, 20 substeps) at points around the attractor.
    """
    random = np.random.default_rng(other.get("seed", 0))
    path = [random.normal(size=(200, 3))]
    for _ in range(100):
        path.append(lorenz_flow(path[-1]))
    z = np.concatenate(path[20:])
    z = z + random.normal(0, 0.15, z.shape)
    model = regressed(_teacher(3, units, **other), z, lorenz_flow(z), scale=0.7, seed=other.get("seed", 0))
    model.initial_noise.set(model.m.new_tensor(np.eye(3)))
    return model


def lorenz_flow(z: np.ndarray, time: float = LORENZ_STEP, substeps: int = 20) -> np.ndarray:
    """The Lorenz equations over `time`, in the coordinates of `lorenz_teacher`, (S, 3) -> (S, 3)."""
    x, dt = z * LORENZ_SIZE + LORENZ_MIDDLE, time / substeps
    for _ in range(substeps):
        a = _lorenz(x)
        b = _lorenz(x + dt / 2 * a)
        c = _lorenz(x + dt / 2 * b)
        x = x + dt / 6 * (a + 2 * b + 2 * c + _lorenz(x + dt * c))
    return (x - LORENZ_MIDDLE) / LORENZ_SIZE


def _lorenz(x: np.ndarray) -> np.ndarray:
    return np.stack([10 * (x[:, 1] - x[:, 0]), x[:, 0] * (28 - x[:, 2]) - x[:, 1], x[:, 0] * x[:, 1] - 8 / 3 * x[:, 2]], 1)


def regressed(model: LowRankRNN, z: np.ndarray, target: np.ndarray, *, scale: float = 1.0, seed: int = 0) -> LowRankRNN:
    """`model` with random m and h, and with n fitted so that F(z) = target, (S, R) each (ridge regression)."""
    random = np.random.default_rng(seed)
    m, h = random.normal(0, scale, (model.units, model.rank)), random.uniform(-1.5, 1.5, model.units)
    features, goal = np.tanh(z @ m.T + h), target - float(model.decay.detach()) * z
    ridge = 1e-9 * len(z) * np.eye(model.units)
    n = np.linalg.solve(features.T @ features + ridge, features.T @ goal).T
    _set(model, m=m, n=n)
    _set(model.nonlinearity, h=h)
    return model


def _teacher(rank: int, units: int, *, neurons: int = 40, rate: float = 8.0, noise: float = 0.02, seed: int = 0) -> LowRankRNN:
    """A float64 tanh network with random loadings and nothing else yet."""
    random = np.random.default_rng(seed)
    model = LowRankRNN(rank=rank, units=units, neurons=neurons, nonlinearity=Tanh(), observation=Poisson(Exp())).double()
    _set(model, decay_logit=np.log(DECAY / (1 - DECAY)))
    _set(model.nonlinearity, h=np.zeros(units))
    _set(model.observation, loadings=random.normal(0, 0.6, (neurons, rank)),
         bias=np.log(rate * BIN_WIDTH) + random.normal(0, 0.5, neurons))  # fmt: skip
    model.noise.set(model.m.new_tensor(np.eye(rank) * noise**2))
    return model
