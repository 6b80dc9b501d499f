"""The dynamics under noise: stationary density, dwell times and transition rates among attractors; visits of trials."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ..searches.base import Dynamics
from .attractors import settle_labels
from .base import Attractor, Switching, Visits
from .orbits import FAR, bounded, principal, step

GRID = 40  # cells along each side of the density


class Diverged(ValueError):
    """Under noise no orbit stays where it is finite."""


def noisy_orbits(dynamics: Dynamics, chol: np.ndarray, z: np.ndarray, bins: int, random: np.random.Generator) -> np.ndarray:
    """(bins + 1, W, R): z_t = F(z_{t−1}) + chol · N(0, 1) from every row of z (W, R)."""
    path = np.empty((bins + 1, *z.shape))
    path[0] = z
    limit = FAR * (1 + np.abs(z).max(initial=0))
    for t in range(bins):
        path[t + 1] = bounded(step(dynamics, path[t]), limit) + random.normal(size=z.shape) @ chol.T
    return path


def switching(
    dynamics: Dynamics, covariance: np.ndarray, starts: np.ndarray, attractors: tuple[Attractor, ...], *,
    axes: np.ndarray | None = None, centre: np.ndarray | None = None,
    walkers: int = 200, bins: int = 2000, burn_in: int = 500, seed: int = 0,
) -> Switching:  # fmt: skip
    """Simulate independent walkers and count.

    Parameters
    ----------
    dynamics : Dynamics
    covariance : array (R, R)
        Of the noise ε_t.
    starts : array (S, R)
        Walkers begin at random ones of these.
    attractors : tuple of Attractor
        Milestones (see `Switching`). A core's radius is the median distance from the attractor that noise makes in three of its
        time constants, and less than half the way to any other attractor.
    centre, axes : array (R,), (2 or more, R)
        Coordinates of the density; None: principal axes of what is simulated.
    walkers, bins, burn_in, seed : int

    Returns
    -------
    Switching
        Errors are standard errors over walkers (jackknife for ratios).
    """
    if walkers < 2:
        raise ValueError(f"switching: walkers must be at least 2, for standard errors; got {walkers}. Pass a hundred or more.")
    random = np.random.default_rng(seed)
    chol = np.linalg.cholesky(covariance + 1e-300 * np.eye(len(covariance)))
    begin = starts[random.integers(len(starts), size=walkers)]
    path = noisy_orbits(dynamics, chol, begin, burn_in + bins, random)[1:]
    path = path[:, np.isfinite(path[-1]).all(1)]
    if not path.size:
        raise Diverged(
            "switching: expected stochastic dynamics that stay bounded; every walker diverged. Fit again, or look without noise."
        )
    cores = _cores(dynamics, chol, attractors, random)
    state = _milestones(path, attractors, cores)[burn_in:]
    path = path[burn_in:]
    flat = path.reshape(-1, path.shape[-1])
    if axes is None or centre is None:
        centre, axes, _ = principal(flat)
    edges, density, error = _density(path, centre, axes)
    counts, spent = _counts(state, len(attractors))
    occupancy = spent / np.maximum(spent.sum(1, keepdims=True), 1)
    total, time = counts.sum(0), spent.sum(0)
    left = counts.sum(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(time[:, None] > 0, total / np.maximum(time, 1)[:, None], np.nan)
        dwell = np.where(left.sum(0) > 0, time / left.sum(0), np.inf)
    return Switching(
        occupancy=occupancy.mean(0), occupancy_error=occupancy.std(0, ddof=1) / len(occupancy) ** 0.5,
        dwell=dwell, dwell_error=_jackknife(spent, left), counts=total, rate=rate,
        rate_error=np.stack([_jackknife(counts[:, i], spent[:, i : i + 1]) for i in range(len(attractors))]).reshape(rate.shape),
        bins=int(path.shape[0] * path.shape[1]), mean=flat.mean(0), covariance=np.atleast_2d(np.cov(flat, rowvar=False)),
        edges=edges, density=density, density_error=error,
    )  # fmt: skip


def visits(
    dynamics: Dynamics, latents: np.ndarray, lengths: np.ndarray, attractors: tuple[Attractor, ...], *,
    pushes: tuple[np.ndarray, np.ndarray] | None = None, steps: int = 1500,
) -> Visits:  # fmt: skip
    """In whose basin each trial's posterior mean is, bin by bin, as runs.

    Parameters
    ----------
    dynamics : Dynamics
    latents : array (B, T, R)
    lengths : int array (B,)
        Recorded bins of each trial.
    attractors : tuple of Attractor
    pushes : (array (B, T, D), array (H, D)) or None
        By how much the inputs of each bin differ from the constant input, and the input weights w: a latent follows, without noise, the
        inputs that its own trial has still to come, and settles at the constant input when the trial is over. None: they do not differ.
    steps : int
        Bins that each latent is given to settle, without noise and at the constant input.
    """
    inside = np.arange(latents.shape[1]) < np.asarray(lengths)[:, None]
    label = np.full(latents.shape[:2], -2)
    ends = latents.astype(float) if pushes is None else _through(dynamics, latents.astype(float), np.asarray(lengths), *pushes)
    label[inside] = settle_labels(dynamics, ends[inside], attractors, steps=steps)
    new = np.ones_like(inside)
    new[:, 1:] = label[:, 1:] != label[:, :-1]
    trial, first = np.nonzero(new & inside)
    stops = np.append(np.flatnonzero(new.ravel())[1:], label.size).reshape(-1) - 1
    last = dict(zip(np.flatnonzero(new.ravel()), stops % latents.shape[1]))
    stop = np.array([last[row * latents.shape[1] + bin] for row, bin in zip(trial, first)], int)
    return Visits(trial, label[trial, first], first, stop)


def _through(dynamics: Dynamics, z: np.ndarray, lengths: np.ndarray, inputs: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Where each latent (B, T, R) is at the end of its trial, driven by the inputs after it and by no noise."""
    z, limit = z.copy(), FAR * (1 + np.abs(z).max(initial=0))
    for bin in range(1, z.shape[1]):
        # By now every earlier latent of the trial has come to the bin before this one.
        trials = np.flatnonzero(bin < lengths)
        before = z[trials, :bin]
        current = dynamics.currents(before) + (inputs[trials, bin] @ w.T)[:, None]
        z[trials, :bin] = bounded(dynamics.decay * before + dynamics.rates(current) @ dynamics.n.T, limit)
    return z


def _cores(dynamics: Dynamics, chol: np.ndarray, attractors: tuple[Attractor, ...], random: np.random.Generator) -> np.ndarray:
    """(A,) radius within which a latent has arrived at each attractor."""
    trees = [cKDTree(attractor.points) for attractor in attractors]
    radius = np.empty(len(attractors))
    for index, (attractor, tree) in enumerate(zip(attractors, trees)):
        wait = int(np.clip(3 * attractor.timescale if np.isfinite(attractor.timescale) else 0, 10, 200))
        begin = attractor.points[random.integers(len(attractor.points), size=256)]
        away = tree.query(np.nan_to_num(noisy_orbits(dynamics, chol, begin, wait, random)[-1], nan=1e300))[0]
        apart = [other.query(attractor.points)[0].min() for j, other in enumerate(trees) if j != index]
        radius[index] = min([float(np.median(away)), *(0.5 * d * (1 - 1e-9) for d in apart)])
    return radius


def _milestones(path: np.ndarray, attractors: tuple[Attractor, ...], cores: np.ndarray) -> np.ndarray:
    """(T, W) the attractor whose core was entered last; −1 before the first."""
    arrived = np.full(path.shape[:2], -1)
    for index, attractor in enumerate(attractors):
        near = cKDTree(attractor.points).query(path, distance_upper_bound=cores[index] + 1e-300)[0] <= cores[index]
        arrived[near] = index
    latest = np.maximum.accumulate(np.where(arrived >= 0, np.arange(len(path))[:, None], -1), 0)
    return np.where(latest >= 0, np.take_along_axis(arrived, np.maximum(latest, 0), 0), -1)


def _counts(state: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Transitions (W, A, A) and bins (W, A) of every walker."""
    walkers = np.broadcast_to(np.arange(state.shape[1]), state.shape)
    spent = np.zeros((state.shape[1], count), int)
    known = state >= 0
    np.add.at(spent, (walkers[known], state[known]), 1)
    counts = np.zeros((state.shape[1], count, count), int)
    moved = known[1:] & known[:-1] & (state[1:] != state[:-1])
    np.add.at(counts, (walkers[1:][moved], state[:-1][moved], state[1:][moved]), 1)
    return counts, spent


def _jackknife(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Standard error of Σ above / Σ below over walkers (first axis), leaving out one at a time."""
    n = len(above)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (above.sum(0) - above) / (below.sum(0) - below)
        return np.sqrt((n - 1) / n * ((without - without.mean(0)) ** 2).sum(0))


def _density(path: np.ndarray, centre: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (2, G + 1), density (G, G) of the first two coordinates per unit area (R = 1: one row), and its error over ten groups."""
    at = (path - centre) @ axes[:2].T
    if at.shape[-1] == 1:
        at = np.concatenate([at, np.full_like(at, 0.5)], -1)
    flat = at.reshape(-1, 2)
    low, high = (np.quantile(flat, q, axis=0) for q in (0.0005, 0.9995))
    if axes.shape[1] == 1:
        low[1], high[1] = 0.0, 1.0
    edges = np.stack([np.linspace(a, b, GRID + 1) for a, b in zip(low, np.maximum(high, low + 1e-12))])
    cell = np.prod(edges[:, 1] - edges[:, 0])
    groups = [group.reshape(-1, 2) for group in np.array_split(at, min(10, at.shape[1]), axis=1)]
    each = np.stack([np.histogram2d(*group.T, bins=list(edges))[0] / (len(group) * cell) for group in groups])
    error = each.std(0, ddof=1) / len(each) ** 0.5 if len(each) > 1 else np.full(each.shape[1:], np.nan)
    whole = np.histogram2d(*flat.T, bins=list(edges))[0] / (len(flat) * cell)
    return edges, whole, error
