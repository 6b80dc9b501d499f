"""Closed curves that an orbit fills without ever closing: rotation number, period, and how well a curve describes it."""

from __future__ import annotations

import numpy as np

from .orbits import principal

HOLLOW = 0.05  # the orbit must stay this share of its largest distance away from its centre to turn around it


def rotation(path: np.ndarray) -> tuple[float, float]:
    """Turns per bin of an orbit around its centre, in the plane of its first two principal axes, and an error.

    The angle's steps are averaged with the weights exp(−1 / (s (1 − s))), which converges faster than any power of T on a
    quasi-periodic orbit (weighted Birkhoff average; Das, Sander, Yorke 2017). The error is the difference between the two halves.

    Parameters
    ----------
    path : array (T, R)

    Returns
    -------
    (float, float)
        NaN, NaN where the orbit does not go around its centre (or R = 1).
    """
    if path.shape[1] < 2:
        return np.nan, np.nan
    centre, axes, _ = principal(path)
    x, y = ((path - centre) @ axes[:2].T).T
    x, y = (value / max(value.std(), 1e-300) for value in (x, y))
    radius = np.hypot(x, y)
    if not radius.min() > HOLLOW * radius.max():
        return np.nan, np.nan
    steps = np.diff(np.arctan2(y, x))
    steps = (steps + np.pi) % (2 * np.pi) - np.pi
    half = len(steps) // 2
    first, second = (abs(_average(part)) for part in (steps[:half], steps[half:]))
    return abs(_average(steps)) / (2 * np.pi), abs(first - second) / (2 * np.pi)


def closed_curve(path: np.ndarray, turns_per_bin: float, harmonics: int = 12, count: int = 400) -> tuple[np.ndarray, float]:
    """The closed curve z(2π ρ t) nearest to an orbit on it, by least squares.

    Parameters
    ----------
    path : array (T, R)
    turns_per_bin : float
        ρ, the rotation number.
    harmonics, count : int
        Of the curve, and points returned along it.

    Returns
    -------
    points : array (count, R)
    residual : float
        Share of the orbit's variance that the curve does not explain: near 0 on an invariant circle, of order 1 in chaos.
    """
    basis = _waves(2 * np.pi * turns_per_bin * np.arange(len(path)), harmonics)
    weights = np.linalg.lstsq(basis, path, rcond=None)[0]
    spread = ((path - path.mean(0)) ** 2).sum()
    residual = float(((path - basis @ weights) ** 2).sum() / max(spread, 1e-300))
    return _waves(2 * np.pi * np.arange(count) / count, harmonics) @ weights, residual


def strongest(path: np.ndarray) -> float:
    """Turns per bin of the strongest line in the spectrum of an orbit (T, R)."""
    window = np.hanning(len(path))[:, None]
    power = (np.abs(np.fft.rfft((path - path.mean(0)) * window, 8 * len(path), axis=0)) ** 2).sum(1)
    return float((power[8:].argmax() + 8) / (8 * len(path)))


def winding(points: np.ndarray) -> int:
    """Turns of a closed orbit (k, R) around its centre before it closes; 0 if it does not go around it."""
    if len(points) < 3 or points.shape[1] < 2:
        return 0
    centre, axes, spread = principal(points)
    if spread[1] <= 1e-9 * spread[0]:
        return 0
    x, y = ((points - centre) @ axes[:2].T / spread[:2]).T
    if not np.hypot(x, y).min() > HOLLOW * np.hypot(x, y).max():
        return 0
    angle = np.arctan2(y, x)
    steps = (np.diff(angle, append=angle[0]) + np.pi) % (2 * np.pi) - np.pi
    return abs(round(float(steps.sum()) / (2 * np.pi)))


def _average(values: np.ndarray) -> float:
    s = (np.arange(len(values)) + 0.5) / len(values)
    weights = np.exp(-1 / (s * (1 - s)))
    return float(weights @ values / weights.sum())


def _waves(phase: np.ndarray, harmonics: int) -> np.ndarray:
    waves = np.outer(phase, np.arange(1, harmonics + 1))
    return np.concatenate([np.ones((len(phase), 1)), np.cos(waves), np.sin(waves)], 1)
