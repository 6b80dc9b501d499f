"""One branch of fixed points: points, tangents, corrections and corners of F(z, p) = z in scaled coordinates x = (z, p)."""

from __future__ import annotations

import numpy as np

from ..searches.base import Dynamics
from .orbits import eigenvalues
from .parameters import Family

ASIDE = 1e-6  # share of a step that says on which side of a kink a derivative is taken


class Curve:
    """F(z, p) − z along x = (z / size, p / range)."""

    def __init__(self, family: Family, low: float, high: float, size: float, seed: int = 0):
        self.family, self.range, self.size = family, high - low, size
        self.random = np.random.default_rng(seed)
        self.piecewise = family.at(family.now).nonlinearity.piecewise_linear
        self.bent = self.piecewise and len(family.at(family.now).kinks()) > 0

    def split(self, x: np.ndarray) -> tuple[Dynamics, np.ndarray, float]:
        p = float(x[-1] * self.range)
        return self.family.at(p), x[:-1] * self.size, p

    def join(self, z: np.ndarray, p: float) -> np.ndarray:
        return np.append(z / self.size, p / self.range)

    def gap(self, x: np.ndarray) -> np.ndarray:
        """(F(z, p) − z) / size, (R,)."""
        dynamics, z, _ = self.split(x)
        return dynamics.change(z) / self.size

    def derivative(self, x: np.ndarray) -> np.ndarray:
        """Of `gap`, (R, R + 1); at a kink of the side on which x lies."""
        dynamics, z, _ = self.split(x)
        along = self.family.at.slope(dynamics, z) * self.range / self.size
        return np.concatenate([dynamics.jacobian(z) - np.eye(len(z)), along[:, None]], 1)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Eigenvalues of dF/dz, by falling modulus."""
        dynamics, z, _ = self.split(x)
        return eigenvalues(dynamics.jacobian(z))

    def tangent(self, x: np.ndarray, towards: np.ndarray | None = None) -> np.ndarray:
        """Unit null vector of the derivative, turned towards `towards` (or the rising parameter)."""
        t = np.linalg.svd(self.derivative(x))[2][-1]
        way = t[-1] if towards is None else t @ towards
        return -t if way < 0 else t

    def correct(self, guess: np.ndarray, row: np.ndarray, slope_at: np.ndarray | None = None) -> np.ndarray | None:
        """Newton for gap(x) = 0 on the hyperplane row · (x − guess) = 0; None if it does not arrive near."""
        x = guess.copy()
        for _ in range(15):
            residual = np.append(self.gap(x), row @ (x - guess))
            if np.abs(residual).max() < 1e-13 * (1 + np.abs(x).max()):
                break
            matrix = np.vstack([self.derivative(x if slope_at is None else slope_at), row])
            try:
                x = x - np.linalg.solve(matrix, residual)
            except np.linalg.LinAlgError:
                return None
            if not np.abs(x - guess).max() < 1.0:
                return None
        return x if np.abs(np.append(self.gap(x), row @ (x - guess))).max() < 1e-10 * (1 + np.abs(x).max()) else None

    def currents(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances of every unit's current to each kink, (J, H), and whether the kink bends anything that matters."""
        dynamics, z, _ = self.split(x)
        return dynamics.currents(z) - dynamics.kinks(), (dynamics.m != 0).any(1) & (dynamics.n != 0).any(0)

    def region(self, x: np.ndarray) -> np.ndarray:
        """(H,) in which linear piece of φ every unit is."""
        distance, matters = self.currents(x)
        return np.where(matters, (distance >= 0).sum(0), 0)

    def next_kink(self, x: np.ndarray, t: np.ndarray, reach: float) -> tuple[float, tuple[int, int]] | None:
        """How far along t the first unit meets a kink, within reach, and which (kink, unit)."""
        here, matters = self.currents(x + ASIDE * reach * t)
        there, _ = self.currents(x + reach * t)
        crosses = (np.sign(here) * np.sign(there) < 0) & matters
        if not crosses.any():
            return None
        share = np.where(crosses, here / np.where(crosses, here - there, 1.0), np.inf)
        j, i = np.unravel_index(share.argmin(), share.shape)
        return (ASIDE + share[j, i] * (1 - ASIDE)) * reach, (int(j), int(i))

    def to_kink(self, guess: np.ndarray, back: np.ndarray, kink: tuple[int, int]) -> np.ndarray | None:
        """The point of the branch at which that unit sits on that kink: Newton with the slopes at `back`, before the kink."""
        x, matrix = guess.copy(), np.vstack([self.derivative(back), np.zeros_like(back)])
        for k in range(len(x)):
            shift = np.zeros_like(x)
            shift[k] = 1e-6
            matrix[-1, k] = (self.currents(x + shift)[0][kink] - self.currents(x - shift)[0][kink]) / 2e-6
        for _ in range(15):
            residual = np.append(self.gap(x), self.currents(x)[0][kink])
            if np.abs(residual).max() < 1e-14 * (1 + np.abs(x).max()):
                break
            try:
                x = x - np.linalg.solve(matrix, residual)
            except np.linalg.LinAlgError:
                return None
        return x if np.abs(self.gap(x)).max() < 1e-10 * (1 + np.abs(x).max()) and np.abs(x - guess).max() < 0.5 else None

    def ways_on(self, corner: np.ndarray, t: np.ndarray, reach: float) -> list[np.ndarray]:
        """Unit tangents of every branch that leaves a corner other than the one that came along t.

        In each linear region around the corner the branch is a line; it is real where it runs into its own region.
        """
        if self._straight(corner, t, reach):
            return [t]
        tries = [t, *self.random.normal(size=(40, len(t)))]
        found, seen = [], set()
        for aside in tries:
            place = corner + ASIDE * reach * aside / np.linalg.norm(aside)
            region = self.region(place)
            if region.tobytes() in seen:
                continue
            seen.add(region.tobytes())
            way = np.linalg.svd(self.derivative(place))[2][-1]
            for sign in (1, -1):
                came = self.region(corner - ASIDE * reach * t).tobytes() == region.tobytes() and sign * way @ t < -0.999999
                same = (self.region(corner + ASIDE * reach * sign * way) == region).all()
                if same and not came and not any(np.linalg.norm(other - sign * way) < 1e-6 for other in found):
                    found.append(sign * way)
        return found

    def _straight(self, corner: np.ndarray, t: np.ndarray, reach: float) -> bool:
        """Whether nothing bends there: kinks at one place may cancel."""
        before, after = (self.derivative(corner + sign * ASIDE * reach * t) for sign in (-1, 1))
        return bool(np.abs(before - after).max() < 10 * ASIDE * reach * (1 + np.abs(before).max()))
