"""What the orbits of the data settle on, and which starts settle where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from ..results import FixedPoints
from ..searches.base import Dynamics, refine
from .base import Attractor, Cycle, Spectrum
from .circles import closed_curve, rotation, strongest
from .continua import Continuum, continuum_of, of_set
from .cycles import cycle_of, shoot
from .lyapunov import lyapunov
from .orbits import advance, bounded, eigenvalues, orbit, size, step

REST = 1e-10  # an orbit rests when it moves by less than this share of the starts' size in a bin
KEPT = 2000  # bins of an orbit kept as a sample of what it fills
LONGEST = 1000  # bins: an orbit that repeats itself within so many is a cycle


def attractors_of(
    dynamics: Dynamics, starts: np.ndarray, fixed_points: FixedPoints, *, settle: int = 4000, watch: int = 4000
) -> tuple[tuple[Attractor, ...], np.ndarray, list[Cycle]]:
    """Attractors by falling share of the starts, where each start settles, and the stable cycles among them.

    Parameters
    ----------
    dynamics : Dynamics
    starts : array (S, R)
        Such as latents of the data.
    fixed_points : FixedPoints
        Its stable points are attractors even where no start settles (share 0).
    settle, watch : int
        Bins given to orbits to arrive, and bins of an orbit from which an attractor that never rests is described.

    Returns
    -------
    attractors : tuple of Attractor
    label : int array (S,)
        Index into attractors; −1 where the orbit diverged or is still under way.
    cycles : list of Cycle
    """
    scale = max(size(starts), 1e-12)
    found = _Found(dynamics, scale)
    continuum = continuum_of(dynamics, starts)
    if continuum is not None:
        found.add(_of_continuum(continuum), tree_points=continuum.points, reach=continuum.length / 50)
    for one in fixed_points.sets:  # that the search met, wherever the orbits went
        found.proved(one)
    for point, values, stable in zip(fixed_points.points, fixed_points.eigenvalues, fixed_points.stable):
        if stable and found.where(point[None])[0] < 0:
            found.add(_of_point(point, values), point[None], 1e-6 * scale)
    end = advance(dynamics, starts, settle)
    found.settled(end)
    found.moving(end, watch)
    label = found.where(end)
    share = np.array([(label == index).mean() for index in range(len(found.attractors))])
    order = np.argsort(-share, kind="stable")
    place = np.argsort(order)
    attractors = tuple(_shared(found.attractors[index], float(share[index])) for index in order)
    return attractors, np.where(label >= 0, place[label] if len(place) else -1, -1), found.cycles


class _Found:
    """Attractors so far, each with a sample of its points and how near counts as on it."""

    def __init__(self, dynamics: Dynamics, scale: float):
        self.dynamics, self.scale = dynamics, scale
        self.attractors: list[Attractor] = []
        self.trees: list[cKDTree] = []
        self.reach: list[float] = []
        self.cycles: list[Cycle] = []

    def add(self, attractor: Attractor, tree_points: np.ndarray, reach: float) -> None:
        self.attractors.append(attractor)
        self.trees.append(cKDTree(tree_points))
        self.reach.append(reach)

    def where(self, z: np.ndarray) -> np.ndarray:
        """(S,) index of the attractor that z is on; −1 for none."""
        label, fine = np.full(len(z), -1), np.isfinite(z).all(1)
        for index, (tree, reach) in enumerate(zip(self.trees, self.reach)):
            free = fine & (label < 0)
            if free.any():
                label[free] = np.where(tree.query(z[free])[0] <= reach, index, -1)
        return label

    def proved(self, one: dict) -> None:
        """A set of fixed points that attracts, unless the orbits have come to rest on it already."""
        if one["dimension"] and one["kind"] == "attractor" and len(one["points"]) > 1:
            if (self.where(np.array(one["points"])) < 0).mean() > 0.5:
                continuum = of_set(self.dynamics, one)
                spacing = cKDTree(continuum.points).query(continuum.points, k=2)[0][:, 1].max()
                self.add(_of_continuum(continuum), continuum.points, max(2 * float(spacing), continuum.length / 50))

    def settled(self, end: np.ndarray) -> None:
        """Ends at rest, or on the last stretch towards a stable point: Newton gives the point."""
        free = np.flatnonzero((self.where(end) < 0) & np.isfinite(end).all(1))
        speed = np.linalg.norm(self.dynamics.change(end[free]), axis=1)
        slow = free[speed < 1e-4 * self.scale]
        if not len(slow):
            return
        points, arrived = refine(self.dynamics, end[slow])
        values = eigenvalues(self.dynamics.jacobian(points))
        near = np.linalg.norm(points - end[slow], axis=1) < 0.05 * self.scale
        for i in np.flatnonzero(arrived & near & (np.abs(values) < 1).all(1)):
            if self.where(points[i][None])[0] < 0:
                self.add(_of_point(points[i], values[i]), points[i][None], 1e-6 * self.scale)
            end[slow[i]] = points[i]  # it is as good as there

    def moving(self, end: np.ndarray, watch: int) -> None:
        """Ends that go on moving: one orbit after another, until every end lies on an attractor."""
        tried = np.zeros(len(end), bool)
        while len(self.attractors) < 50:
            free = np.flatnonzero((self.where(end) < 0) & np.isfinite(end).all(1) & ~tried)
            speed = np.linalg.norm(self.dynamics.change(end[free]), axis=1)
            free = free[speed > REST * self.scale]
            if not len(free):
                return
            tried[free[0]] = True
            path = orbit(self.dynamics, end[free[:1]], watch)[:, 0]
            if np.isfinite(path).all():
                self._describe(path)

    def _describe(self, path: np.ndarray) -> None:
        cycle = self._closed(path)
        if cycle is not None:
            self.cycles.append(cycle)
            self.add(_of_cycle(cycle), cycle.points, 1e-5 * self.scale)
            return
        attractor = _never_closing(self.dynamics, path)
        if attractor.kind == "invariant circle" and len(attractor.points) < len(path):
            spacing = np.linalg.norm(np.diff(attractor.points, axis=0), axis=1).max()
            self.add(attractor, attractor.points, max(2 * spacing, 1e-6 * self.scale))
            return
        tree = cKDTree(path[: len(path) // 2])
        # As near as the orbit's later half comes to its earlier half (but for the loneliest hundredth).
        reach = 3 * float(np.quantile(tree.query(path[len(path) // 2 :])[0], 0.99))
        self.add(attractor, path, max(reach, 1e-6 * self.scale))

    def _closed(self, path: np.ndarray) -> Cycle | None:
        """The stable cycle that the orbit has come to, if it repeats within LONGEST bins."""
        last = path[-1]
        back = np.linalg.norm(path[-1 - min(LONGEST, len(path) // 3) : -1] - last, axis=1)[::-1]
        near = np.flatnonzero(back < 1e-7 * self.scale)
        if not len(near):
            return None
        k = int(near[0]) + 1
        exact = shoot(self.dynamics, path[None, -1 - k : -1])
        cycle = cycle_of(self.dynamics, exact[0], self.scale) if len(exact) else None
        # A multiplier of 1: a whole curve of such cycles, which is a circle, not one cycle.
        return cycle if cycle is not None and np.abs(cycle.multipliers[0]) < 1 - 1e-6 else None


def settle_labels(
    dynamics: Dynamics, z: np.ndarray, attractors: tuple[Attractor, ...], *, steps: int = 3000, chunk: int = 50
) -> np.ndarray:
    """(S,) index of the attractor in whose basin each z (S, R) is; −1 where none was reached within `steps`.

    A point or cycle counts as reached within 2 % of the distance to the next attractor, a set within its own spacing.
    """
    label, z = np.full(len(z), -1), np.array(z, float)
    if not attractors or not len(z):
        return label
    trees = [cKDTree(attractor.points) for attractor in attractors]
    reach = [_reach(attractors, index, trees) for index in range(len(attractors))]
    going, limit = np.flatnonzero(np.isfinite(z).all(1)), 1e8 * (1 + np.abs(np.nan_to_num(z)).max(initial=0))
    for done in range(0, steps + 1, chunk):
        for index, tree in enumerate(trees):
            here = tree.query(z[going], distance_upper_bound=reach[index])[0] <= reach[index]
            label[going[here]] = index
            going = going[~here]
        if not len(going) or done >= steps:
            break
        for _ in range(chunk):
            z[going] = bounded(step(dynamics, z[going]), limit)
        going = going[np.isfinite(z[going]).all(1)]
    return label


def _reach(attractors: tuple[Attractor, ...], index: int, trees: list[cKDTree]) -> float:
    points = attractors[index].points
    others = [tree.query(points)[0].min() for other, tree in enumerate(trees) if other != index]
    apart = 0.02 * min(others) if others else np.inf
    if attractors[index].kind in ("point", "cycle"):
        return min(apart, 0.02 * max(np.linalg.norm(points, axis=1).max(), size(points), 1e-6))
    spacing = trees[index].query(points, k=2)[0][:, 1]
    return min(apart, 3 * float(np.quantile(spacing, 0.99)))


def _never_closing(dynamics: Dynamics, path: np.ndarray) -> Attractor:
    """An invariant circle, a torus or chaos, by the exponents of the orbit."""
    spectrum = lyapunov(dynamics, path[:1], steps=len(path) - 1, transient=min(500, len(path) // 4))[0]
    zero = np.maximum(3 * spectrum.errors, 5 / spectrum.steps)
    positive, flat = spectrum.exponents > zero, np.abs(spectrum.exponents) <= zero
    turns, error = rotation(path)
    evidence = dict(
        lyapunov=spectrum.exponents.tolist(), lyapunov_error=spectrum.errors.tolist(), rotation_error=error if np.isfinite(error) else None
    )
    if positive[0]:
        kind = "chaos"
        evidence.update(kaplan_yorke=spectrum.kaplan_yorke)
    else:
        kind = "invariant circle" if flat.sum() <= 1 else "torus"
        turns = turns if np.isfinite(turns) else strongest(path)
        curve, residual = closed_curve(path, turns)
        evidence.update(curve_residual=residual)
    below = spectrum.exponents[spectrum.exponents < -zero]
    timescale = float(-1 / below[0]) if len(below) else np.inf
    period = 1 / turns if np.isfinite(turns) and turns > 0 else np.nan
    # Near a rational rotation number the orbit stays at a few places for long: the curve through them is the set.
    points = curve if kind == "invariant circle" and residual < 1e-3 else path[: min(len(path), KEPT)]
    return Attractor(kind, points, 0.0, timescale, period, turns, spectrum, evidence)


def _of_point(point: np.ndarray, values: np.ndarray) -> Attractor:
    with np.errstate(divide="ignore"):
        exponents = np.maximum(np.log(np.abs(values)), -700.0)
    spectrum = Spectrum(exponents, np.zeros(len(values)), 0)
    turns = abs(np.angle(values[0])) / (2 * np.pi) if abs(values[0].imag) > 1e-9 else np.nan
    period = 1 / turns if np.isfinite(turns) and turns > 0 else np.nan
    return Attractor("point", point[None], 0.0, float(-1 / exponents[0]), period, float(turns), spectrum)


def _of_cycle(cycle: Cycle) -> Attractor:
    with np.errstate(divide="ignore"):
        exponents = np.maximum(np.log(np.abs(cycle.multipliers)) / cycle.period, -700.0)
    spectrum = Spectrum(exponents, np.zeros(len(exponents)), 0)
    evidence = dict(bins=cycle.period, turns=cycle.turns, residual=cycle.residual)
    return Attractor("cycle", cycle.points, 0.0, float(-1 / exponents[0]), cycle.turn, 1 / cycle.turn, spectrum, evidence)


def _of_continuum(found: Continuum) -> Attractor:
    evidence = dict(length=found.length, drift_bins=found.drift, slowest_eigenvalue=found.slowest.real, dimension=found.dimension)
    return Attractor(found.kind, found.points, 0.0, found.fast, evidence=evidence)


def _shared(attractor: Attractor, share: float) -> Attractor:
    return replace(attractor, share=share)
