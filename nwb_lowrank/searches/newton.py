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
    Half of the random starts are uniform in the box; the others crowd around its middle, because the box
    bounds the worst case (every unit pulling one way) and most fixed points lie far inside.
    """

    def __init__(self, *, starts: int = 1000, seed: int = 0, region=None):
        if starts < 1:
            raise ValueError(f"Newton: starts must be at least 1; got {starts}. Pass a few hundred.")
        self.starts, self.seed, self.region = starts, seed, region

    def candidates(self, dynamics: Dynamics) -> Candidates:
        low, high = dynamics.box(self.region)
        random = np.random.default_rng(self.seed)
        share = random.uniform(size=(self.starts, 1)) ** 3
        share[::2] = 1.0
        middle, half = (low + high) / 2, (high - low) / 2
        z = middle + share * random.uniform(-half, half, size=(self.starts, len(low)))
        z[0] = 0.0
        z, arrived = refine(dynamics, z)
        reason = f"Newton from {self.starts} starts, of which {int(arrived.sum())} arrived; other points may exist."
        region = dict(low=low.tolist(), high=high.tolist())
        return Candidates(z[arrived], False, dict(region=region, starts=self.starts, arrived=int(arrived.sum()), reason=reason))
