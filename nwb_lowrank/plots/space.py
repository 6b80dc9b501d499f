"""Latent space in three dimensions: latents, noise-free orbits, fixed points, attractors and cycles."""

from __future__ import annotations

import numpy as np

from ..dynamics.base import Portrait
from ..dynamics.orbits import orbit
from ..results import Results
from ..searches.base import Dynamics
from ._marks import View, draw_points, draw_sets

MOST_PATHS = 25


def plot_space(results: Results, portrait: Portrait | None = None, *, elevation: float = 25.0, azimuth: float = -60.0):
    """The first three principal latents in perspective.

    Parameters
    ----------
    results : Results
        Of rank 3 or more.
    portrait : Portrait or None
        None: `results.portrait`.
    elevation, azimuth : float
        Of the eye, degrees.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Rank below 3.
    """
    from matplotlib.figure import Figure

    view = View(results, results.portrait if portrait is None else portrait)
    if len(view.centre) < 3:
        raise ValueError(f"plot_space: three dimensions need rank 3 or more; this fit has rank {len(view.centre)}. Use plot_portrait.")
    figure = Figure(figsize=(9, 8), layout="constrained")
    panel = figure.add_subplot(projection="3d")
    random = np.random.default_rng(0)
    drawn = random.permutation(len(view.latents))[:MOST_PATHS]
    for index, trial in enumerate(drawn):
        panel.plot(
            *view.at(view.latents[trial], 3).T, color="tab:green", lw=0.6, alpha=0.6, label="latents of the data" if index == 0 else None
        )
    first = view.latents[drawn, 0]
    first = first[np.isfinite(first).all(1)].astype(float)[:10]
    path = view.at(orbit(Dynamics.of(results.fit.model, view.input), first, 3 * view.latents.shape[1]), 3)
    for index in range(len(first)):
        panel.plot(*path[:, index].T, color="black", lw=0.7, alpha=0.8, label="without noise" if index == 0 else None)
    draw_sets(panel, view, 3)
    seen = view.at(view.latents.reshape(-1, len(view.centre)), 3)
    low, high = (np.nanquantile(seen, q, axis=0) for q in (0.001, 0.999))
    draw_points(panel, view, 3, inside=lambda at: ((at > 2 * low - high) & (at < 2 * high - low)).all(1))
    panel.set(xlabel=view.label(0), ylabel=view.label(1), zlabel=view.label(2), title=view.title())
    panel.view_init(elevation, azimuth)
    panel.legend(fontsize=8, loc="upper left")
    return figure
