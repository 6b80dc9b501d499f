"""How fixed points, attractors and cycles look in every figure of the dynamics."""

from __future__ import annotations

import numpy as np

from ..dynamics.base import Portrait
from ..dynamics.orbits import principal
from ..results import Results

SET_COLOUR, CYCLE_COLOUR = "tab:red", "tab:purple"
MARKS = {  # kind of fixed point: marker, face
    "attractor": ("o", "black"),
    "saddle": ("X", "white"),
    "repeller": ("o", "white"),
    "undetermined": ("D", "0.6"),  # on a kink of φ, different from side to side
}


class View:
    """Coordinates of a figure: principal axes of the latents of the data, or of the model's own if there are none."""

    def __init__(self, results: Results, portrait: Portrait | None):
        self.results, self.portrait = results, portrait
        self.latents = np.where(results.trials.mask.any(-1)[..., None], results.posterior.latents, np.nan)
        seen = self.latents[np.isfinite(self.latents).all(-1)]
        self.centre, self.axes, spread = principal(seen.astype(float))
        self.share = spread**2 / max((spread**2).sum(), 1e-300)
        self.points = portrait.fixed_points if portrait is not None else results.fixed_points
        self.input = portrait.input if portrait is not None else np.zeros(results.fit.model.inputs)

    def at(self, z: np.ndarray, dimensions: int = 2) -> np.ndarray:
        """(..., R) -> (..., dimensions) principal coordinates."""
        return ((z - self.centre) @ self.axes.T)[..., :dimensions]

    def label(self, k: int) -> str:
        return f"principal latent {k + 1} ({self.share[k]:.0%})"

    def title(self) -> str:
        return self.portrait.name if self.portrait is not None else "phase portrait"


def draw_points(panel, view: View, dimensions: int = 2, inside=None) -> None:
    """Fixed points, one mark and one entry of the legend for each kind."""
    if view.points is None or not len(view.points.points):
        return
    at, kinds = view.at(view.points.points, dimensions), np.array([kind.split()[0].rstrip(",") for kind in view.points.kinds])
    shown = np.ones(len(at), bool) if inside is None else inside(at)
    for kind, (marker, face) in MARKS.items():
        chosen = shown & (kinds == kind)
        if chosen.any():
            name = f"{chosen.sum()} {kind}{'s' if chosen.sum() > 1 else ''}"
            panel.plot(*at[chosen].T, marker, ms=9, mfc=face, mec="black", mew=1.2, ls="none", label=name, zorder=6)


def draw_sets(panel, view: View, dimensions: int = 2) -> None:
    """Attractors that are no points, and unstable cycles."""
    if view.portrait is None:
        return
    for attractor in view.portrait.attractors:
        if attractor.kind in ("point",):
            continue
        at = view.at(attractor.points, dimensions)
        closed = attractor.kind in ("ring", "invariant circle", "cycle")
        at = np.concatenate([at, at[:1]]) if closed else at
        style = dict(ls="none", marker=".", ms=1.5, alpha=0.6) if attractor.kind in ("chaos", "torus", "sheet") else dict(lw=2.5)
        panel.plot(*at.T, color=SET_COLOUR, label=attractor.kind if attractor.kind != "cycle" else "attracting cycle", zorder=4, **style)
    unstable = [cycle for cycle in view.portrait.cycles if not cycle.stable][:10]
    for index, cycle in enumerate(unstable):
        at = view.at(np.concatenate([cycle.points, cycle.points[:1]]), dimensions)
        panel.plot(*at.T, color=CYCLE_COLOUR, lw=1, ls="--", marker=".", ms=3, zorder=4, label="unstable cycles" if index == 0 else None)
