"""One-parameter families of dynamics: along an input, the decay, a gain, or one entry of a parameter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..model import LowRankRNN
from ..searches.base import Dynamics

NAMES = "'input 0' (1, …), 'decay', 'gain' (n times this), 'h 3', 'm 3 0', 'n 0 3'"


@dataclass(frozen=True, eq=False)
class Family:
    """Dynamics as a function of one number.

    Parameters
    ----------
    name : str
        Such as 'input 0'.
    at : callable
        number -> Dynamics; its method `slope(dynamics, z)` gives dF/dp at one z (R,), at a kink to the kink's right.
    now : float
        The fitted model's own value.
    """

    name: str
    at: Callable[[float], Dynamics]
    now: float


def along(model: LowRankRNN, name: str, u=None) -> Family:
    """The family of `model` along the parameter `name`, all else (and the input u (D,), zero by default) fixed.

    Raises
    ------
    ValueError
        No such parameter.
    """
    base = Dynamics.of(model, u)
    word, *index = name.split()
    index = tuple(int(i) for i in index) if all(i.isdigit() for i in index) else ()
    if word == "input" and len(index) == 1 and index[0] < model.inputs:
        return _input(model, base, index[0], u, name)
    if word == "decay" and not index:
        return Family(name, _Decay(base), base.decay)
    if word == "gain" and not index:
        return Family(name, _Gain(base), 1.0)
    if word in ("m", "n", "h"):
        array = base.nonlinearity.h.detach().numpy() if word == "h" else getattr(base, word)
        if len(index) == array.ndim and all(i < n for i, n in zip(index, array.shape)):
            return Family(name, _Entry(base, word, index), float(array[index]))
    raise ValueError(
        f"along: expected one of {NAMES}, with indices inside this model (D={model.inputs}, H={model.units}, R={model.rank}); "
        f"got '{name}'. Pass such a name."
    )


@torch.no_grad()
def model_at(model: LowRankRNN, name: str, value: float, u=None) -> tuple[LowRankRNN, np.ndarray]:
    """A float64 copy of `model` and the input at which `along(model, name, u)` has that value."""
    word, *index = name.split()
    changed = copy.deepcopy(model).double().cpu()
    u = np.zeros(model.inputs) if u is None else np.array(u, float)
    if word == "input":
        u[int(index[0])] = value
    elif word == "decay":
        changed.decay_logit.fill_(float(np.log(value / (1 - value))))
    elif word == "gain":
        changed.n.mul_(value)
    else:
        parameter = changed.nonlinearity.h if word == "h" else getattr(changed, word)
        parameter[tuple(int(i) for i in index)] = value
    return changed, u


def _input(model: LowRankRNN, base: Dynamics, index: int, u, name: str) -> Family:
    now = 0.0 if u is None else float(np.asarray(u, float)[index])
    column = model.w.detach().double().cpu().numpy()[:, index]
    return Family(name, _Drive(base, base.drive - now * column, column), now)


@dataclass(frozen=True, eq=False)
class _Drive:
    base: Dynamics
    rest: np.ndarray
    column: np.ndarray

    def __call__(self, value: float) -> Dynamics:
        return replace(self.base, drive=self.rest + value * self.column)

    def slope(self, dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
        return dynamics.n @ (dynamics.slopes(dynamics.currents(z)) * self.column)


@dataclass(frozen=True, eq=False)
class _Decay:
    base: Dynamics

    def __call__(self, value: float) -> Dynamics:
        return replace(self.base, decay=float(value))

    def slope(self, dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
        return z


@dataclass(frozen=True, eq=False)
class _Gain:
    base: Dynamics

    def __call__(self, value: float) -> Dynamics:
        return replace(self.base, n=value * self.base.n)

    def slope(self, dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
        return self.base.n @ dynamics.rates(dynamics.currents(z))


@dataclass(frozen=True, eq=False)
class _Entry:
    base: Dynamics
    field: str
    index: tuple[int, ...]

    def __call__(self, value: float) -> Dynamics:
        if self.field == "h":
            nonlinearity = copy.deepcopy(self.base.nonlinearity)
            with torch.no_grad():
                nonlinearity.h[self.index] = value
            return replace(self.base, nonlinearity=nonlinearity)
        array = getattr(self.base, self.field).copy()
        array[self.index] = value
        return replace(self.base, **{self.field: array})

    def slope(self, dynamics: Dynamics, z: np.ndarray) -> np.ndarray:
        current = dynamics.currents(z)
        if self.field == "n":
            row, unit = self.index
            return np.eye(len(z))[row] * dynamics.rates(current)[unit]
        unit = self.index[0]
        if self.field == "m":
            return dynamics.n[:, unit] * dynamics.slopes(current)[unit] * z[self.index[1]]
        value, step = float(dynamics.nonlinearity.h.detach()[unit]), 1e-9
        up, down = (self(value + s * step).rates(current)[unit] for s in (1, -1))
        return dynamics.n[:, unit] * (up - down) / (2 * step)
