"""Newton's method from many starts: any nonlinearity, no proof, but an estimate of what was missed."""

from __future__ import annotations

import numpy as np

from .base import Candidates, Dynamics, Search, refine


class Newton(Search):
    """Damped Newton steps from many starts at once, with Levenberg–Marquardt steps for those that get stuck.

    Parameters
    ----------
    starts : int
        The origin and starts − 1 others: latents of `latents`, if given, half of them; the rest random points.
    seed : int
    region : (low, high) or None
        Where to start, two corners of R numbers each. None: the box that the dynamics cannot leave,
        or, where there is none, three times the extent of the fitted trials.
    latents : array (..., R) or None
        Where the trials went, such as `Posterior.latents`: starts are drawn from them.
    q_value : float
        A start that stuck where q = ½ |F(z) − z|² is below this is counted as slow (a ghost of a fixed point), not as lost.

    Notes
    -----
    Half of the random starts are uniform in the box; the others crowd, over three decades, around the place in it
    nearest to the origin: the box bounds the worst case (every unit pulling one way), units bend near the origin.

    The certificate counts how many starts found each point. The number of points missed is estimated from those found once
    (f₁) and twice (f₂) by Chao's lower bound f₁ (f₁ − 1) / (2 (f₂ + 1)) (Chao 1984, in its bias-corrected form), and
    Good's estimate of the share of starts that would find a known point, 1 − f₁ / arrived (Good 1953). Both take starts as draws:
    points that no start can reach are not counted.
    """

    def __init__(self, *, starts: int = 1000, seed: int = 0, region=None, latents=None, q_value: float = 1e-10):
        if starts < 1 or not q_value > 0:
            raise ValueError(
                f"Newton: starts must be at least 1 and q_value above 0; got {starts}, {q_value}. Pass a few hundred starts, q_value=1e-10."
            )
        self.starts, self.seed, self.region, self.latents, self.q_value = starts, seed, region, latents, q_value

    def candidates(self, dynamics: Dynamics, on_round=None) -> Candidates:
        low, high = dynamics.box(self.region)
        z, arrived = refine(dynamics, self._begin(dynamics, low, high))
        lost = np.flatnonzero(~arrived & np.isfinite(dynamics.change(z)).all(1))
        z[lost], arrived[lost] = refine(dynamics, _levenberg_marquardt(dynamics, z[lost]))
        with np.errstate(over="ignore", invalid="ignore"):
            q = 0.5 * np.square(dynamics.change(z)).sum(1)
        slow, came = int((~arrived & (q <= self.q_value)).sum()), int(arrived.sum())
        reason = f"Newton from {self.starts} starts, of which {came} arrived; other points may exist."
        about = dict(region=dict(low=low.tolist(), high=high.tolist()), starts=self.starts, arrived=came, slow=slow,
                     q_value=self.q_value, reason=reason)  # fmt: skip
        return Candidates(z[arrived], False, about)

    def _begin(self, dynamics: Dynamics, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(self.seed)
        half, size = (high - low) / 2, (self.starts, len(low))
        z = np.clip(0.0, low, high) + 10 ** random.uniform(-3, 0, size=(self.starts, 1)) * random.uniform(-half, half, size)
        z[::2] = random.uniform(low, high, size)[::2]
        if self.latents is not None:
            visited = np.asarray(self.latents, dtype=float)
            if visited.ndim < 1 or visited.shape[-1] != len(low):
                raise ValueError(f"Newton: latents must be (..., {len(low)}); got shape {visited.shape}. Pass Posterior.latents.")
            visited = visited.reshape(-1, len(low))
            visited = visited[np.isfinite(visited).all(1)]
            rows = np.arange(self.starts) % 4 < 2
            z[rows] = visited[random.integers(len(visited), size=rows.sum())]
        z[0] = 0.0
        return z


def capture(counts: np.ndarray) -> dict:
    """What the numbers of starts that found each point (P,) say of the points that none found.

    Returns
    -------
    dict
        missed : Chao's lower bound on the number of points not found; coverage : Good's estimate of the share of starts that
        find a point known already; found_once : number of points that one start found.
    """
    once, twice, total = int((counts == 1).sum()), int((counts == 2).sum()), int(counts.sum())
    return dict(found_once=once, missed=once * (once - 1) / (2 * (twice + 1)), coverage=1 - once / total if total else 0.0)


def _levenberg_marquardt(dynamics: Dynamics, z: np.ndarray, steps: int = 60) -> np.ndarray:
    """Steps (JᵀJ + μ I)⁻¹ Jᵀ G from every row of z (P, R): they creep over places where J is singular."""
    z, identity = z.copy(), np.eye(z.shape[1])
    change = dynamics.change(z)
    mu = np.full(len(z), 1e-3)
    for _ in range(steps if len(z) else 0):
        J = dynamics.jacobian(z) - identity
        normal = np.swapaxes(J, 1, 2) @ J
        damp = mu * np.maximum(np.trace(normal, axis1=1, axis2=2), np.finfo(float).tiny)
        step = np.linalg.solve(normal + damp[:, None, None] * identity, np.swapaxes(J, 1, 2) @ change[..., None])[..., 0]
        new = dynamics.change(z - step)
        better = np.square(new).sum(1) < np.square(change).sum(1)
        z[better], change[better] = (z - step)[better], new[better]
        mu = np.clip(np.where(better, mu / 4, mu * 4), 1e-12, 1e8)
    return z
