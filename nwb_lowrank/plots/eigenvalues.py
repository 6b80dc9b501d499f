"""The eigenvalue plane: every fixed point's eigenvalues against the unit circle, with time constants and frequencies."""

from __future__ import annotations

import numpy as np

from ..dynamics.base import Portrait
from ..dynamics.readings import duration
from ..results import Results
from ._marks import MARKS, View

MOST_CYCLES = 10


def plot_eigenvalues(results: Results, portrait: Portrait | None = None):
    """Eigenvalues of the Jacobian at every fixed point, and Floquet multipliers of cycles per bin.

    Circles of equal decay are labelled in seconds, rays of equal turning in hertz.

    Parameters
    ----------
    results : Results
    portrait : Portrait or None
        None: `results.portrait`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No fixed points were searched.
    """
    from matplotlib.figure import Figure

    view = View(results, results.portrait if portrait is None else portrait)
    if view.points is None:
        raise ValueError(
            "plot_eigenvalues: these results hold no fixed points. Find them first: nwb-lowrank fixed-points FILE --portrait --save."
        )
    values = view.points.eigenvalues
    cycles = [] if view.portrait is None else view.portrait.cycles[:MOST_CYCLES]
    per_bin = [np.abs(c.multipliers) ** (1 / c.period) * np.exp(1j * np.angle(c.multipliers) / c.period) for c in cycles]
    everything = np.concatenate([values.ravel(), *per_bin, [1.0]])
    wide, tall = np.ptp(np.append(everything.real, 0.0)), 2 * np.abs(everything.imag).max()
    figure = Figure(figsize=(8, float(np.clip(8 * tall / wide, 4.5, 8))), layout="constrained")
    panel = figure.add_subplot()
    _grid(panel, results.trials.bin_width, everything)
    _marks(panel, view, values, per_bin)
    width = results.trials.bin_width * 1e3
    panel.set(xlabel="real part", ylabel="imaginary part", aspect="equal", title=f"eigenvalues per bin of {width:.4g} ms")
    panel.legend(loc="upper left", fontsize=8)
    return figure


def _marks(panel, view: View, values: np.ndarray, per_bin: list[np.ndarray]) -> None:
    """Eigenvalues (P, R) by kind of fixed point, and multipliers of cycles per bin."""
    kinds = np.array([kind.split()[0].rstrip(",") for kind in view.points.kinds], dtype=str)
    for kind, (marker, face) in MARKS.items():
        chosen = values[kinds == kind].ravel()
        if len(chosen):
            panel.plot(
                chosen.real,
                chosen.imag,
                marker,
                mfc=face,
                mec="black",
                ms=8,
                ls="none",
                label=f"{kind}s ({(kinds == kind).sum()})",
                zorder=4,
            )
    for index, each in enumerate(per_bin):
        panel.plot(
            each.real, each.imag, "D", color="tab:purple", ms=5, ls="none", label="cycles, per bin" if index == 0 else None, zorder=3
        )


def _grid(panel, bin_width: float, values: np.ndarray) -> None:
    """Unit circle, circles of decay, rays of frequency, and a window around the values."""
    angle = np.linspace(-np.pi, np.pi, 400)
    panel.plot(np.cos(angle), np.sin(angle), color="black", lw=1.2)
    low, high = min(values.real.min(), 0.0), max(values.real.max(), 1.0)
    reach = max(np.abs(values.imag).max(), 0.25 * (high - low))
    pad = 0.08 * (high - low)
    panel.set(xlim=(low - pad, high + 2 * pad), ylim=(-reach - pad, reach + pad))
    for bins in (1, 2, 5, 10, 20, 50, 100):
        radius = np.exp(-1 / bins)
        panel.plot(radius * np.cos(angle), radius * np.sin(angle), color="0.8", lw=0.6, zorder=1)
        where = 0.35 * reach if radius > 0.35 * reach else 0.0
        x, y = np.sqrt(max(radius**2 - where**2, 0)), -where
        if low - pad < x < high + pad and bins in (1, 2, 5, 10, 50):
            panel.text(x, y, duration(bins * bin_width), fontsize=7, color="0.4", rotation=-70, ha="center", va="center", clip_on=True)
    for turns in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4):
        for sign in (1, -1):
            ray = 1.02 * np.exp(sign * 2j * np.pi * turns)
            panel.plot([0, ray.real], [0, ray.imag], color="0.88", lw=0.5, zorder=1)
        label = 1.06 * np.exp(2j * np.pi * turns)
        panel.text(label.real, label.imag, f"{turns / bin_width:.3g} Hz", fontsize=7, color="0.4", clip_on=True)
