"""Recordings simulated from a known teacher network: for demonstrations and for tests of recovery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..model import LowRankRNN
from ..observations import Poisson
from ..observations.base import Exp
from ..trials import Trials

BIN_WIDTH = 0.02  # seconds; the teachers' dynamics are per bin of this width
GAP = 0.4  # seconds between two trials
DECAY = 0.92


@dataclass(frozen=True, eq=False)
class Session:
    """A simulated recording with its truth.

    Parameters
    ----------
    teacher : LowRankRNN
    trials : Trials
        Counts, hand velocity and trial table (start_time, stop_time, condition).
    latents : array (B, T, R)
    rates : array (B, T, N)
        Expected spikes per bin given the latents.
    spike_times : list of N arrays
        Seconds; each inside its bin, rising.
    """

    teacher: LowRankRNN
    trials: Trials
    latents: np.ndarray
    rates: np.ndarray
    spike_times: list[np.ndarray]


def decision_teacher(*, neurons: int = 40, rate: float = 8.0, seed: int = 0) -> LowRankRNN:
    """A rank-2 clipped-ReLU network that decides between two attractors, with a saddle at the origin.

    z₁ ← 0.92 z₁ + 0.12 ramp(z₁): 0 repels and ±1.5 attract. z₂ ← 0.92 z₂ + 0.06 ramp(z₁ − z₂): it forgets where it
    began and follows the decision. ramp(x) = min(max(x, −1), 1) is made of two clipped-ReLU units and a constant
    one. The attractors are ±(1.5, 9/14).

    Parameters
    ----------
    neurons : int
    rate : float
        Median rate of the neurons at the origin, Hz.
    seed : int
        Of the log-normal rates and the loadings (0.6 log-rate units per unit of z).
    """
    m = [[1, 0], [1, 0], [1, -1], [1, -1], [0, 0], [0, 0]]
    h = [1, -1, 1, -1, 1, 1]
    n = [[0.12, -0.12, 0, 0, -0.12, 0], [0, 0, 0.06, -0.06, 0, -0.06]]
    random = np.random.default_rng(seed)
    model = LowRankRNN(rank=2, units=6, neurons=neurons, observation=Poisson(Exp()))
    _set(model, m=m, n=n, decay_logit=np.log(DECAY / (1 - DECAY)))
    _set(model.nonlinearity, h=h)
    _set(model.observation, loadings=random.normal(0, 0.6, (neurons, 2)),
         bias=np.log(rate * BIN_WIDTH) + random.normal(0, 0.5, neurons))  # fmt: skip
    model.noise.set(model.m.new_tensor(np.diag([0.06**2] * 2)))
    model.initial_noise.set(model.m.new_tensor(np.diag([0.3**2, 1.0])))
    return model


def random_teacher(*, rank: int = 3, units: int = 32, neurons: int = 40, gain: float = 1.0, seed: int = 0) -> LowRankRNN:
    """A clipped-ReLU network with random weights; with a larger `gain` it has more fixed points and cycles."""
    random = np.random.default_rng(seed)
    model = LowRankRNN(rank=rank, units=units, neurons=neurons, observation=Poisson(Exp()))
    _set(model, m=random.normal(0, 1, (units, rank)), n=random.normal(0, gain / units**0.5, (rank, units)))
    _set(model.nonlinearity, h=random.normal(0, 1, units))
    _set(model.observation, loadings=random.normal(0, 0.5, (neurons, rank)), bias=np.full(neurons, np.log(8.0 * BIN_WIDTH)))
    model.noise.set(model.m.new_tensor(np.eye(rank) * 0.1**2))
    return model


def simulate_session(teacher: LowRankRNN, *, trials: int = 160, bins: int = 50, initial=None, seed: int = 0) -> Session:
    """Simulate trials that follow one another with a gap, with conditions, hand velocity and spike times.

    Parameters
    ----------
    teacher : LowRankRNN
    trials, bins : int
        B and T.
    initial : array (conditions, R) or None
        z_1 of each condition, give or take 0.1; None: the corners (±0.25, ±1.2, 0, …).
    seed : int
    """
    random = np.random.default_rng(seed)
    corners = np.zeros((4, teacher.rank))
    corners[:, : min(2, teacher.rank)] = np.array([[0.25, 1.2], [0.25, -1.2], [-0.25, 1.2], [-0.25, -1.2]])[:, : teacher.rank]
    corners = corners if initial is None else np.asarray(initial, float)
    condition = random.permutation(np.arange(trials) % len(corners))
    first = corners[condition] + random.normal(0, 0.1, (trials, teacher.rank))
    latents, counts = teacher.simulate(teacher.m.new_zeros(trials, bins, 0), seed=seed, initial=teacher.m.new_tensor(first))
    rates = teacher.observation.mean(latents).detach().numpy()
    latents, counts = latents.numpy(), counts.numpy()
    starts = 1.0 + np.arange(trials) * (bins * BIN_WIDTH + GAP)
    velocity = latents @ random.normal(0, 5, (teacher.rank, 2)) + random.normal(0, 1, (trials, bins, 2))
    table = pd.DataFrame(dict(start_time=starts, stop_time=starts + bins * BIN_WIDTH, condition=condition))
    cut = Trials.from_arrays(counts, bin_width=BIN_WIDTH, starts=starts, table=table, behavior=velocity,
                             behavior_names=("hand_velocity_0", "hand_velocity_1"), behavior_units=("cm/s",) * 2)  # fmt: skip
    return Session(teacher, cut, latents, rates, [_spike_times(cut, neuron, random) for neuron in range(teacher.neurons)])


def _spike_times(trials: Trials, neuron: int, random: np.random.Generator) -> np.ndarray:
    """As many times inside each bin as it has spikes, away from its edges, rising."""
    spikes = trials.counts[..., neuron].astype(int).ravel()
    edges = (trials.times - 0.5 * trials.bin_width).ravel()
    return np.sort(np.repeat(edges, spikes) + random.uniform(0.01, 0.99, spikes.sum()) * trials.bin_width)


def _set(module, **values) -> None:
    """Copy arrays into parameters."""
    for name, value in values.items():
        parameter = getattr(module, name)
        parameter.data.copy_(parameter.new_tensor(np.asarray(value, float)))
