"""The bifurcation diagram: fixed points along one parameter, with what happens to them."""

from __future__ import annotations

import numpy as np

from ..dynamics.base import Branches
from ..results import Results
from ._marks import View

MARKERS = {"fold": ("s", "tab:red"), "branch point": ("D", "tab:green"), "flip": ("^", "tab:purple"), "Neimark–Sacker": ("*", "tab:blue"),
           "change of stability": ("v", "tab:orange")}  # fmt: skip


def plot_bifurcation(results: Results, branches: Branches | None = None, *, components: int = 2):
    """Branches of fixed points in the first principal latents, solid where they attract.

    Parameters
    ----------
    results : Results
        Whose latents give the axes.
    branches : Branches or None
        None: those of `results.portrait`.
    components : int
        Principal latents shown, one panel each.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No branches in the results.
    """
    from matplotlib.figure import Figure

    stored = results.portrait.branches if results.portrait is not None else None
    branches = stored if branches is None else branches
    if branches is None:
        raise ValueError("plot_bifurcation: these results hold no branches. Make them first: "
                         "nwb-lowrank fixed-points FILE --portrait --along gain 0.5 1.5 --save.")  # fmt: skip
    view = View(results, results.portrait)
    components = min(components, len(view.centre))
    figure = Figure(figsize=(9, 3.6 * components + 0.6), layout="constrained")
    panels = figure.subplots(components, 1, sharex=True, squeeze=False)[:, 0]
    at = view.at(branches.points, components)
    for k, panel in enumerate(panels):
        _lines(panel, branches, at[:, k])
        _events(panel, branches, at[:, k])
        panel.set_ylabel(view.label(k))
        seen = view.at(view.latents.reshape(-1, len(view.centre)), components)[:, k]
        panel.axhspan(*np.nanquantile(seen, [0.01, 0.99]), color="tab:green", alpha=0.08, zorder=0)
    panels[-1].set_xlabel(branches.parameter)
    panels[0].legend(fontsize=8, loc="best")
    count = len(np.unique(branches.branch))
    figure.suptitle(f"{count} branch{'es' if count != 1 else ''} of fixed points along {branches.parameter} (green: range of the latents)")
    return figure


def _lines(panel, branches: Branches, y: np.ndarray) -> None:
    """Stable stretches solid, unstable ones dashed; a corner belongs to both sides."""
    named = set()
    for branch in np.unique(branches.branch):
        rows = np.flatnonzero(branches.branch == branch)
        stable = branches.stable[rows]
        edges = np.flatnonzero(stable[1:] != stable[:-1]) + 1
        for part in np.split(np.arange(len(rows)), edges):
            first, last = max(part[0] - 1, 0), part[-1] + 1
            chosen, calm = rows[first:last], bool(stable[part[0]])
            style = dict(color="black", lw=1.8) if calm else dict(color="0.5", lw=1.2, ls="--")
            label = None if calm in named else "stable" if calm else "unstable"
            named.add(calm)
            panel.plot(branches.value[chosen], y[chosen], label=label, **style)


def _events(panel, branches: Branches, y: np.ndarray) -> None:
    for name, (marker, colour) in MARKERS.items():
        for border in (False, True):
            rows = [i for i, event in enumerate(branches.event) if name in event and event.startswith("border") == border]
            rows = [i for i in rows if "end" not in branches.event[i]]
            if rows:
                label = f"{'border-collision ' if border else ''}{name} ({len(rows)})"
                panel.plot(
                    branches.value[rows],
                    y[rows],
                    marker,
                    color=colour,
                    mfc="white" if border else colour,
                    ms=7,
                    ls="none",
                    label=label,
                    zorder=5,
                )
