"""The phase portrait: flow, nullclines, basins, fixed points, cycles and the data's latents in a plane."""

from __future__ import annotations

import numpy as np

from ..dynamics.base import Portrait
from ..dynamics.flow import basins, flow_in_plane
from ..dynamics.orbits import orbit
from ..results import Results
from ..searches.base import Dynamics
from ._marks import View, draw_points, draw_sets

MOST_PATHS = 40  # trials drawn; more would hide one another
NULLCLINES = ("tab:blue", "tab:orange")


def plot_portrait(results: Results, portrait: Portrait | None = None, *, plane: tuple[int, int] = (0, 1), grid: int = 80):
    """Phase portrait in the plane of two principal directions of the latents.

    Parameters
    ----------
    results : Results
        Whose latents are drawn.
    portrait : Portrait or None
        None: `results.portrait`, if there is one; without it only flow and fixed points are drawn.
    plane : two of 0 … R − 1
        Principal directions, from 0.
    grid : int
        Points along each side of the flow.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        A plane that this rank does not have (rank 1: see `plot_summary`).
    """
    from matplotlib.figure import Figure

    view = View(results, results.portrait if portrait is None else portrait)
    rank = len(view.centre)
    if len(set(plane)) != 2 or not all(0 <= k < rank for k in plane):
        raise ValueError(f"plot_portrait: plane must be two different directions of 0 … {rank - 1}; got {plane}. Rank 1 has no plane.")
    order = [*plane, *(k for k in range(rank) if k not in plane)]
    view.axes, view.share, view.order = view.axes[order], view.share[order], order
    low, high = _limits(view)
    dynamics = Dynamics.of(results.fit.model, view.input)
    flow = flow_in_plane(dynamics, view.centre, view.axes[:2], low, high, bin_width=results.trials.bin_width, grid=grid)
    figure = Figure(figsize=(9, 8), layout="constrained")
    panel = figure.add_subplot()
    _background(figure, panel, view, flow, dynamics)
    panel.streamplot(flow.x, flow.y, flow.velocity[..., 0], flow.velocity[..., 1], color="0.55", density=1.1, linewidth=0.6, arrowsize=0.8)
    for k, curves in enumerate(flow.nullclines()):
        for index, curve in enumerate(curves):
            name = f"nullcline of principal latent {view.order[k] + 1}" if index == 0 else None
            panel.plot(*curve.T, color=NULLCLINES[k], lw=1.3, label=name, zorder=3)
    _paths(panel, view, dynamics)
    draw_sets(panel, view)
    draw_points(panel, view, inside=lambda at: ((at >= low) & (at <= high)).all(1))
    panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel=_label(view, 0), ylabel=_label(view, 1), title=_title(view, low, high))
    panel.legend(loc="upper right", fontsize=8, framealpha=0.9)
    return figure


def _limits(view: View) -> tuple[np.ndarray, np.ndarray]:
    """A window around latents, attractors and near fixed points."""
    seen = view.at(view.latents.reshape(-1, len(view.centre)))
    seen = seen[np.isfinite(seen).all(1)]
    low, high = np.quantile(seen, 0.001, axis=0), np.quantile(seen, 0.999, axis=0)
    room = high - low
    near = [] if view.points is None else [view.at(view.points.points)]
    near += [] if view.portrait is None else [view.at(a.points) for a in view.portrait.attractors if a.share > 0]
    at = np.concatenate([np.empty((0, 2)), *near])
    at = at[((at > low - room) & (at < high + room)).all(1)]
    low, high = np.minimum(low, at.min(0, initial=np.inf)), np.maximum(high, at.max(0, initial=-np.inf))
    return low - 0.12 * (high - low), high + 0.12 * (high - low)


def _background(figure, panel, view: View, flow, dynamics) -> None:
    """Speed as grey; on a plane that is all of latent space, basins as colour."""
    from matplotlib import colormaps

    speed = np.log10(np.maximum(flow.speed, 1e-12 * flow.speed.max()))
    image = panel.pcolormesh(
        flow.x, flow.y, speed, cmap="Greys", vmin=np.quantile(speed, 0.01), vmax=speed.max() + 2.0, shading="auto", rasterized=True
    )
    figure.colorbar(image, ax=panel, label="log10 speed (latent units per s)", shrink=0.7)
    attractors = view.portrait.attractors if view.portrait is not None else ()
    if len(view.centre) == 2 and 1 < len(attractors) <= 10:
        owner = basins(dynamics, flow, attractors)
        tint = colormaps["Set2"](np.clip(owner, 0, 7))
        tint[..., 3] = np.where(owner >= 0, 0.35, 0.0)
        extent = (flow.x[0], flow.x[-1], flow.y[0], flow.y[-1])
        panel.imshow(tint, extent=extent, origin="lower", aspect="auto", interpolation="nearest", zorder=1)


def _paths(panel, view: View, dynamics) -> None:
    """Latents of some trials, and where the noise-free dynamics take each trial's first latent."""
    random = np.random.default_rng(0)
    drawn = random.permutation(len(view.latents))[:MOST_PATHS]
    for index, trial in enumerate(drawn):
        at = view.at(view.latents[trial])
        panel.plot(*at.T, color="tab:green", lw=0.5, alpha=0.6, zorder=2, label="latents of the data" if index == 0 else None)
    first = view.latents[drawn[:12], 0]
    first = first[np.isfinite(first).all(1)].astype(float)
    path = view.at(orbit(dynamics, first, 3 * view.latents.shape[1]))
    for index in range(len(first)):
        panel.plot(*path[:, index].T, color="black", lw=0.8, alpha=0.8, zorder=3, label="without noise" if index == 0 else None)


def _label(view: View, k: int) -> str:
    return f"principal latent {view.order[k] + 1} ({view.share[k]:.0%})"


def _title(view: View, low: np.ndarray, high: np.ndarray) -> str:
    count = 0 if view.points is None else len(view.points.points)
    outside = 0 if not count else int((~((view.at(view.points.points) >= low) & (view.at(view.points.points) <= high)).all(1)).sum())
    hidden = f"; {outside} fixed points outside" if outside else ""
    flat = " (flow and nullclines in this plane, other latents at their mean)" if len(view.centre) > 2 else ""
    return f"{view.title()}{hidden}{flat}"
