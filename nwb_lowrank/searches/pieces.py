"""A piecewise-linear vector field in a box: its lines, and how far it strays from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .base import EPS, Dynamics

NOWHERE = 1e300
LANES = 8  # units that compiled code takes together


@dataclass(frozen=True, eq=False)
class Pieces:
    """F(z) − z = linear z + n φ(m z + drive) + constant, over the units that may bend.

    φ_i(x) = level_i + slope_i x + Σ_j jump_ij max(x − kink_ij, 0) is continuous. `slack` (H,) bounds the
    rounding of the currents, `error` (R,) that of the whole and `blur` (R, R) that of its slope, anywhere in the box they
    were made for.
    """

    linear: np.ndarray
    constant: np.ndarray
    m: np.ndarray
    n: np.ndarray
    drive: np.ndarray
    level: np.ndarray
    slope: np.ndarray
    kinks: np.ndarray
    jumps: np.ndarray
    slack: np.ndarray
    error: np.ndarray
    blur: np.ndarray

    @classmethod
    def of(cls, dynamics: Dynamics, low: np.ndarray, high: np.ndarray) -> Pieces:
        """The pieces of `dynamics` for boxes inside (low, high)."""
        m, n, drive = dynamics.m, dynamics.n, dynamics.drive
        slope, kinks, jumps = _bends(dynamics)
        level = dynamics.rates(np.zeros_like(drive)) - (jumps * np.maximum(-kinks, 0)).sum(0)
        # A unit that hears or says nothing may rest on a kink for ever: it is a constant.
        idle = ~((m != 0).any(1) & (n != 0).any(0))
        level, slope = np.where(idle, dynamics.rates(drive), level), np.where(idle, 0.0, slope)
        kinks, jumps = np.where(idle, NOWHERE, kinks), np.where(idle, 0.0, jumps)
        furthest = np.maximum(np.abs(low), np.abs(high))
        reach = np.abs(m) @ furthest + np.abs(drive)
        bends = (np.abs(jumps) * (reach + np.abs(np.where(jumps == 0, 0.0, kinks)))).sum(0)
        terms = (len(drive) + len(low) + 8) * EPS
        error = terms * (furthest + np.abs(n) @ (np.abs(level) + np.abs(slope) * reach + bends))
        linear = (dynamics.decay - 1) * np.eye(len(low))
        steepest = np.abs(slope) + np.abs(jumps).sum(0)
        blur = terms * (np.abs(linear) + (np.abs(n) * steepest) @ np.abs(m))
        return cls(linear, np.zeros(len(low)), m, n, drive, level, slope, kinks, jumps, terms * reach, error, blur).within(low, high)

    def within(self, low: np.ndarray, high: np.ndarray) -> Pieces:
        """The same for boxes inside (low, high): units without a kink there join the linear part."""
        x, reach = self.m @ ((low + high) / 2) + self.drive, np.abs(self.m) @ ((high - low) / 2) + self.slack
        bent = (np.abs(self.kinks - x) <= reach).any(0)
        slope = np.where(bent, 0.0, self._slope_at(x))
        level = np.where(bent, 0.0, self.phi(x) - slope * (self.m @ ((low + high) / 2)))
        rows = {name: getattr(self, name)[bent] for name in ("m", "drive", "level", "slope", "slack")}
        columns = {name: getattr(self, name)[:, bent] for name in ("n", "kinks", "jumps")}
        linear, constant = self.linear + (self.n * slope) @ self.m, self.constant + self.n @ level
        return replace(self, linear=linear, constant=constant, **rows, **columns)

    def phi(self, x: np.ndarray) -> np.ndarray:
        """φ(x), (..., H) -> (..., H)."""
        y = self.level + self.slope * x
        for kink, jump in zip(self.kinks, self.jumps, strict=True):
            y += jump * np.maximum(x - kink, 0)
        return y

    def secants(self, centre: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lines near φ over the currents of the boxes centre ± half (S, R).

        Returns
        -------
        slope, value, spread : (S, H)
            |φ(x) − value − slope (x − currents at the centre)| ≤ spread in the box.
        stray : (S, H)
            |φ'(x) − slope| ≤ stray in the box.
        bent : bool (S,)
            A unit has a kink in the box.
        """
        x, reach = centre @ self.m.T + self.drive, half @ np.abs(self.m).T + self.slack
        low, high = x - reach, x + reach
        inside = [(low <= kink) & (kink <= high) for kink in self.kinks]
        bent = np.logical_or.reduce(inside)
        bottom, top = self.phi(low), self.phi(high)
        slope = np.where(bent, (top - bottom) / (2 * reach), self._slope_at(x))
        # Whatever the slope, φ(x) − slope x is least and most at an end or at a kink.
        bottom += slope * reach
        top -= slope * reach
        least, most = np.minimum(bottom, top), np.maximum(bottom, top)
        for kink, value, here in zip(self.kinks, self.phi(self.kinks), inside, strict=True):
            middle = np.where(here, value - slope * (kink - x), bottom)
            np.minimum(least, middle, out=least)
            np.maximum(most, middle, out=most)
        spread, stray = np.where(bent, (most - least) / 2, 0.0), self._stray(low, slope, inside)
        return slope, (least + most) / 2, spread, np.where(bent, stray, 0.0), bent.any(1)

    def _stray(self, low: np.ndarray, slope: np.ndarray, inside: list[np.ndarray]) -> np.ndarray:
        piece = self.slope + sum(jump * (kink < low) for kink, jump in zip(self.kinks, self.jumps, strict=True))
        stray = np.abs(piece - slope)
        for jump, here in zip(self.jumps, inside, strict=True):
            piece = piece + np.where(here, jump, 0.0)
            stray = np.maximum(stray, np.abs(piece - slope))
        return stray

    def table(self) -> np.ndarray:
        """What `kernel.search` reads: the rows of `lanes`, kinks rising; units that do nothing fill up the last LANES, and one more."""
        order = np.argsort(self.kinks, axis=0, kind="stable")
        kinks, jumps = np.take_along_axis(self.kinks, order, 0), np.take_along_axis(self.jumps, order, 0)
        values = self.phi(np.where(kinks == NOWHERE, 0.0, kinks))
        single = [self.drive, np.maximum(self.slack, 1 / NOWHERE), self.level, self.slope]
        parts = np.concatenate([self.m.T, self.n, single, kinks, jumps, values])
        # Rows that begin a multiple of 4 KiB apart would drive each other out of the cache.
        columns = -(-len(self.m) // LANES) + 1
        table = np.zeros((len(parts), LANES * (columns + 1 - columns % 2)))
        table[2 * len(self.n) + 1], table[2 * len(self.n) + 4 :][: len(kinks)] = 1.0, NOWHERE
        table[:, : len(self.m)] = parts
        return table

    def _slope_at(self, x: np.ndarray) -> np.ndarray:
        return self.slope + sum(jump * (x > kink) for kink, jump in zip(self.kinks, self.jumps, strict=True))


def _bends(dynamics: Dynamics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope left of all kinks (H,), the kinks (J, H), and by how much the slope jumps at each (J, H).

    Kinks at one place are one; where nothing jumps there is no kink, so it is moved out of every box.
    """
    kinks = dynamics.kinks()
    between = np.concatenate([kinks[:1] - 1, (kinks[1:] + kinks[:-1]) / 2, kinks[-1:] + 1])
    slopes = dynamics.slopes(between)
    jumps = np.diff(slopes, axis=0)
    for j in range(1, len(kinks)):
        same = kinks[j] == kinks[j - 1]
        # The piece between them has no length: its slope, whatever it is, cancels.
        jumps[j, same] += jumps[j - 1, same]
        jumps[j - 1, same] = 0.0
    return slopes[0], np.where(jumps == 0, NOWHERE, kinks), jumps
