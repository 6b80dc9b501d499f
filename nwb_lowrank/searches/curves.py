"""A smooth vector field in a box: lines near φ, and how far it strays from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import EPS, Dynamics


@dataclass(frozen=True, eq=False)
class Curves:
    """F(z) − z = linear z + n φ(m z + drive) + constant, with a smooth φ that says where it has a given slope.

    `slack` (H,) bounds the rounding of the currents, `error` (R,) that of the whole and `blur` (R, R) that of its slope,
    anywhere in the box they were made for. Every unit bends everywhere, if little.
    """

    dynamics: Dynamics
    linear: np.ndarray
    constant: np.ndarray
    m: np.ndarray
    n: np.ndarray
    slack: np.ndarray
    error: np.ndarray
    blur: np.ndarray

    @classmethod
    def of(cls, dynamics: Dynamics, low: np.ndarray, high: np.ndarray) -> Curves:
        """The curves of `dynamics` for boxes inside (low, high)."""
        m, n, drive = dynamics.m, dynamics.n, dynamics.drive
        furthest = np.maximum(np.abs(low), np.abs(high))
        reach = np.abs(m) @ furthest + np.abs(drive)
        # The slope is greatest at an inflection or far away.
        far = np.concatenate([dynamics.inflections(), np.full((1, len(m)), -1e6), np.full((1, len(m)), 1e6)])
        steepest = np.abs(dynamics.slopes(far)).max(0)
        sizes = np.abs(dynamics.rates(np.zeros_like(drive))) + steepest * reach
        terms = (len(drive) + len(low) + 16) * EPS
        error = terms * (furthest + np.abs(n) @ sizes)
        linear = (dynamics.decay - 1) * np.eye(len(low))
        blur = terms * (np.abs(linear) + (np.abs(n) * steepest) @ np.abs(m))
        return cls(dynamics, linear, np.zeros(len(low)), m, n, terms * reach + 1e-300, error, blur)

    def within(self, low: np.ndarray, high: np.ndarray) -> Curves:
        """The same: no unit is ever straight."""
        return self

    def secants(self, centre: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lines near φ over the currents of the boxes centre ± half (S, R), as `Pieces.secants`.

        Whatever the slope, φ(x) − slope x is least and most at an end or where φ' equals the slope; φ' at an end or at an
        inflection.
        """
        x, reach = self.dynamics.currents(centre), half @ np.abs(self.m).T + self.slack
        low, high = x - reach, x + reach
        bottom, top = self.dynamics.rates(low), self.dynamics.rates(high)
        size = np.abs(bottom) + np.abs(top)
        slope = (top - bottom) / (2 * reach)
        bottom, top = bottom + slope * reach, top - slope * reach
        least, most = np.minimum(bottom, top), np.maximum(bottom, top)
        # A point just outside does no harm: it is on the curve, so the bounds hold with it too.
        for turn in self.dynamics.touching(slope):
            here = np.clip(turn, low, high)
            y = np.where(np.isfinite(turn), self.dynamics.rates(np.where(np.isfinite(here), here, x)) - slope * (here - x), bottom)
            np.minimum(least, y, out=least)
            np.maximum(most, y, out=most)
        ends = np.abs(self.dynamics.slopes(low) - slope), np.abs(self.dynamics.slopes(high) - slope)
        stray = np.maximum(*ends)
        for point in self.dynamics.inflections():
            inside = (low <= point) & (point <= high)
            stray = np.maximum(stray, np.where(inside, np.abs(self.dynamics.slopes(np.clip(point, low, high)) - slope), 0.0))
        # φ and the turning points come from a library: a few units in the last place. Where φ is all but constant a turning
        # point may be beyond what float64 can say; φ − slope x then strays by no more than its rise.
        spread = (most - least) / 2 + 16 * EPS * (size + np.abs(slope) * (np.abs(x) + reach))
        spread += np.where(np.abs(slope) < 1e-12, 2 * np.abs(slope) * reach, 0.0)
        return slope, (least + most) / 2, spread, stray + 16 * EPS, np.ones(len(centre), bool)
