"""Newton's method from many starts: any nonlinearity, no proof."""

from __future__ import annotations

import numpy as np

from .base import Candidates, Dynamics, Search, refine


class Newton(Search):
    """Damped Newton steps from many starts at once.

    Parameters
    ----------
    starts : int
        The origin and starts − 1 random points.
    seed : int
    region : (low, high) or None
        Where to start, two corners of R numbers each. None: the box that the dynamics cannot leave,
        or, where there is none, three times the extent of the fitted trials.

    Notes
    -----
    Half of the random starts are uniform in the box; the others crowd, over three decades, around the place in it
    nearest to the origin: the box bounds the worst case (every unit pulling one way), units bend near the origin.
    """

    def __init__(self, *, starts: int = 1000, seed: int = 0, region=None):
        if starts < 1:
            raise ValueError(f"Newton: starts must be at least 1; got {starts}. Pass a few hundred.")
        self.starts, self.seed, self.region = starts, seed, region

    def candidates(self, dynamics: Dynamics, on_round=None) -> Candidates:
        low, high = dynamics.box(self.region)
        random = np.random.default_rng(self.seed)
        half, size = (high - low) / 2, (self.starts, len(low))
        z = np.clip(0.0, low, high) + 10 ** random.uniform(-3, 0, size=(self.starts, 1)) * random.uniform(-half, half, size)
        z[::2] = random.uniform(low, high, size)[::2]
        z[0] = 0.0
        z, arrived = refine(dynamics, z)
        reason = f"Newton from {self.starts} starts, of which {int(arrived.sum())} arrived; other points may exist."
        region = dict(low=low.tolist(), high=high.tolist())
        return Candidates(z[arrived], False, dict(region=region, starts=self.starts, arrived=int(arrived.sum()), reason=reason))
