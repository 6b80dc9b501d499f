"""What every search works on (Dynamics) and gives back (Candidates)."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch

from ..model import LowRankRNN
from ..nonlinearities.base import Nonlinearity

EPS = np.finfo(np.float64).eps
Box = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Dynamics:
    """z ← F(z) = a z + n φ(m z + drive) in float64, at one constant input.

    Parameters
    ----------
    decay : float
        a.
    m : array (H, R), n : array (R, H)
    drive : array (H,)
        w u (+ b).
    nonlinearity : Nonlinearity
        A float64 copy on the CPU: φ, its slope and its kinks.
    extent : array (R,)
        Largest |z| that the fitted trials visited; 0 before a fit.
    """

    decay: float
    m: np.ndarray
    n: np.ndarray
    drive: np.ndarray
    nonlinearity: Nonlinearity
    extent: np.ndarray

    @classmethod
    def of(cls, model: LowRankRNN, u=None) -> Dynamics:
        """The dynamics of `model` at the input u (D,); None is no input."""
        u = np.zeros(model.inputs) if u is None else np.asarray(u, dtype=float)
        if u.shape != (model.inputs,) or not np.isfinite(u).all():
            raise ValueError(
                f"find_fixed_points: u must be ({model.inputs},) finite numbers, one for each input of the model; "
                f"got shape {u.shape}. Pass one constant input vector."
            )
        with torch.no_grad():
            model = copy.deepcopy(model).double().cpu()
            m, n = model.m.detach().numpy(), model.n.detach().numpy()
            drive = model.currents(torch.zeros(model.rank, dtype=torch.float64), torch.from_numpy(u)).numpy()
            found = cls(float(model.decay), m, n, drive, model.nonlinearity, model.extent.numpy())
        parts = (found.decay, m, n, found.drive, model.nonlinearity.h.detach().numpy())
        if not all(np.isfinite(part).all() for part in parts):
            raise ValueError("find_fixed_points: the model's parameters must be finite; got NaN or infinity. Fit it again.")
        return found

    def rates(self, x: np.ndarray) -> np.ndarray:
        """φ(x), (..., H) -> (..., H)."""
        with torch.no_grad():
            return self.nonlinearity(torch.from_numpy(x)).numpy()

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """∂φ/∂x, (..., H) -> (..., H)."""
        with torch.no_grad():
            return self.nonlinearity.slope(torch.from_numpy(x)).numpy()

    def kinks(self) -> np.ndarray:
        """(J, H) where φ changes slope."""
        with torch.no_grad():
            return self.nonlinearity.kinks().numpy()

    def touching(self, slope: np.ndarray) -> np.ndarray:
        """(J, ..., H) the currents at which a smooth φ has this slope (..., H), NaN where none."""
        with torch.no_grad():
            return self.nonlinearity.touching(torch.from_numpy(slope)).numpy()

    def inflections(self) -> np.ndarray:
        """(J, H) where the slope of a smooth φ has an extreme."""
        with torch.no_grad():
            return self.nonlinearity.inflections().numpy()

    @property
    def certifiable(self) -> bool:
        """φ has lines near it that `Certified` can prove things with."""
        return self.nonlinearity.piecewise_linear or self.nonlinearity.touching(self.nonlinearity.h.detach()) is not None

    def currents(self, z: np.ndarray) -> np.ndarray:
        """m z + drive, (..., R) -> (..., H)."""
        return z @ self.m.T + self.drive

    def change(self, z: np.ndarray) -> np.ndarray:
        """F(z) − z, which is 0 at a fixed point, (..., R) -> (..., R)."""
        return (self.decay - 1) * z + self.rates(self.currents(z)) @ self.n.T

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """dF/dz, (..., R) -> (..., R, R)."""
        R = self.m.shape[1]
        outer = (self.n.T[:, :, None] * self.m[:, None, :]).reshape(len(self.m), R * R)
        recurrent = self.slopes(self.currents(z)) @ outer
        return self.decay * np.eye(R) + recurrent.reshape(*z.shape[:-1], R, R)

    def rounding(self, z: np.ndarray) -> np.ndarray:
        """A bound on the rounding error of `change`, (..., R) -> (..., R): terms of each sum × ε × their sizes."""
        H, R = self.m.shape
        sizes = np.abs(self.rates(self.currents(z))) + np.abs(z) @ np.abs(self.m).T + np.abs(self.drive)
        return (H + R + 8) * EPS * (np.abs(z) + sizes @ np.abs(self.n).T) + np.finfo(float).tiny

    def invariant_box(self) -> Box | None:
        """A box that F maps into itself and that holds every fixed point: z = n φ / (1 − a) with φ in its
        range. None where φ is unbounded (or a rounds to 1)."""
        if not (self.nonlinearity.bounded and self.decay < 1):
            return None
        x = self.kinks() if self.nonlinearity.piecewise_linear else _everywhere(len(self.m))
        values = self.rates(x)
        low, high = values.min(0), values.max(0)
        rise, fall = np.maximum(self.n, 0), np.minimum(self.n, 0)
        return (rise @ low + fall @ high) / (1 - self.decay), (rise @ high + fall @ low) / (1 - self.decay)

    def box(self, region=None) -> Box:
        """Where to search: `region` if given, else the invariant box, else three times the visited extent."""
        if region is not None:
            return self._checked(region)
        box = self.invariant_box()
        if box is not None:
            return box
        if not (self.extent > 0).all():
            raise ValueError(
                f"find_fixed_points: {type(self.nonlinearity).__name__} does not bound the dynamics and this model has no extent, "
                "because it was never fitted. Pass a search with region=(low, high), each R numbers."
            )
        return -3 * self.extent, 3 * self.extent

    def _checked(self, region) -> Box:
        R = self.m.shape[1]
        corners = np.asarray(region, dtype=float)
        if corners.shape != (2, R) or not np.isfinite(corners).all() or (corners[0] > corners[1]).any():
            raise ValueError(
                f"find_fixed_points: region must be (low, high), each {R} finite numbers with low <= high; "
                f"got shape {corners.shape}. Pass the box's two corners."
            )
        return corners[0], corners[1]


def _everywhere(units: int) -> np.ndarray:
    """Currents from −10⁶ to 10⁶, dense near 0: (G, units)."""
    half = np.geomspace(1e-3, 1e6, 400)
    return np.repeat(np.concatenate([-half, [0.0], half])[:, None], units, 1)


def refine(dynamics: Dynamics, z: np.ndarray, steps: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Damped Newton from every row of z at once, each until nothing improves.

    Parameters
    ----------
    z : (P, R)

    Returns
    -------
    z : (P, R), arrived : bool (P,), True where F(z) − z is 0 up to the rounding of its sums
    """
    z, identity = z.copy(), np.eye(z.shape[1])
    change = dynamics.change(z)
    going = np.flatnonzero(np.isfinite(change).all(1))
    for _ in range(steps):
        if not len(going):
            break
        # The pseudo-inverse keeps a singular Jacobian from ending the other starts.
        step = -np.linalg.pinv(dynamics.jacobian(z[going]) - identity, rcond=1e-13) @ change[going][..., None]
        moved, new = _line_search(dynamics, z[going], change[going], step[..., 0])
        better = _size(new) < _size(change[going])
        going = going[better]
        z[going], change[going] = moved[better], new[better]
    with np.errstate(invalid="ignore"):
        return z, (np.abs(change) <= dynamics.rounding(z)).all(1)


def _line_search(dynamics: Dynamics, z: np.ndarray, change: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halve each step, at most 12 times, until it shrinks |F(z) − z| by a tenth of what a straight line promises."""
    share, goal = np.ones(len(z)), _size(change)
    for _ in range(12):
        moved = z + share[:, None] * step
        new = dynamics.change(moved)
        poor = ~(_size(new) <= (1 - 0.1 * share) * goal)
        if not poor.any():
            break
        share[poor] /= 2
    return moved, new


def _size(change: np.ndarray) -> np.ndarray:
    return np.abs(change).max(-1)


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a search found.

    Parameters
    ----------
    points : (P, R), not yet verified
    complete : bool
        No other can exist in the search's region.
    certificate : dict
        How that is known, JSON values.
    boxes : (P, 2, R) or None
        For each point, a box in which it was proved to be the only one; NaN where it was not.
    """

    points: np.ndarray
    complete: bool
    certificate: dict = field(default_factory=dict)
    boxes: np.ndarray | None = None


class Search(ABC):
    """A way to look for the solutions of F(z) = z. Arguments are kept under their own names."""

    @abstractmethod
    def candidates(self, dynamics: Dynamics, on_round=None) -> Candidates:
        """Look. The certificate holds JSON values, at least `region` (low and high lists, or None for all of
        space) and `reason`; `find_fixed_points` adds the search's name and the degree sum.

        on_round : function of `bisection.Looked`, or None
            Called now and then by a search that takes long.
        """
