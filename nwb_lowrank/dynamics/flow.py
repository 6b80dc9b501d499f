"""The flow in a plane: velocity, speed, nullclines, and basins of attraction on its grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..searches.base import Dynamics
from .attractors import settle_labels
from .base import Attractor


@dataclass(frozen=True, eq=False)
class Plane:
    """A grid in a plane through latent space and what the noise-free dynamics do there.

    Parameters
    ----------
    x, y : array (G,)
        Coordinates along the plane's two axes.
    z : array (G, G, R)
        The grid in latent space; rows run along y.
    velocity : array (G, G, 2)
        (F(z) − z) / Δ along the two axes, latent units per second.
    speed : array (G, G)
        |F(z) − z| / Δ in all R dimensions.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    velocity: np.ndarray
    speed: np.ndarray

    def nullclines(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Curves, each (S, 2) in plane coordinates, on which the first (second) coordinate does not change.

        With R = 2 they cross exactly at the fixed points; with R > 2 they are of the motion projected onto the plane.
        """
        import contourpy

        first, second = (
            contourpy.contour_generator(self.x, self.y, self.velocity[..., k]).lines(0.0)
            if np.ptp(np.sign(self.velocity[..., k])) else [] for k in range(2)
        )  # fmt: skip
        return first, second


def flow_in_plane(dynamics: Dynamics, centre, axes, low, high, *, bin_width: float, grid: int = 60) -> Plane:
    """Velocity, speed and nullclines in the plane centre + x axes[0] + y axes[1].

    Parameters
    ----------
    dynamics : Dynamics
    centre : array (R,)
    axes : array (2, R)
        Orthonormal rows, such as two principal directions of the latents.
    low, high : 2 numbers each
        Corners in plane coordinates.
    bin_width : float
        Seconds.
    grid : int
        G, points along each side.

    Raises
    ------
    ValueError
        Axes that do not span a plane of this latent space, or corners in the wrong order.
    """
    centre, axes, R = np.asarray(centre, float), np.asarray(axes, float), dynamics.m.shape[1]
    if centre.shape != (R,) or axes.shape != (2, R):
        raise ValueError(
            f"flow_in_plane: centre must be ({R},) and axes (2, {R}); got {centre.shape} and {axes.shape}. Pass two directions."
        )
    if not (np.asarray(high) > np.asarray(low)).all() or grid < 2:
        raise ValueError(
            f"flow_in_plane: expected low < high and grid >= 2; got {low}, {high} and {grid}. Pass the lower left corner first."
        )
    x, y = (np.linspace(low[k], high[k], grid) for k in range(2))
    places = np.stack(np.meshgrid(x, y), -1)
    z = centre + places @ axes
    change = dynamics.change(z) / bin_width
    return Plane(x, y, z, change @ axes.T, np.linalg.norm(change, axis=-1))


def basins(dynamics: Dynamics, plane: Plane, attractors: tuple[Attractor, ...], *, steps: int = 3000) -> np.ndarray:
    """(G, G) index of the attractor that each grid point settles on; −1 where none was reached."""
    return settle_labels(dynamics, plane.z.reshape(-1, plane.z.shape[-1]), attractors, steps=steps).reshape(plane.speed.shape)
