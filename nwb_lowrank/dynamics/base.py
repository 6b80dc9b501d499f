"""What is found about the dynamics, as plain arrays: attractors, cycles, exponents, switching, branches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Cycle:
    """A k-cycle of the map: z ← F(z) visits k points in turn.

    Parameters
    ----------
    points : array (k, R)
        In the order of the visits.
    residual : float
        max |F(z_i) − z_{i+1}|, below the rounding of F.
    multipliers : complex array (R,)
        Floquet multipliers: eigenvalues of dF^k/dz, by falling modulus.
    turns : int
        Times the orbit goes around its centre in the plane of its first two principal axes before it closes; 0 if it does not.
    """

    points: np.ndarray
    residual: float
    multipliers: np.ndarray
    turns: int = 0

    @property
    def period(self) -> int:
        """k, bins."""
        return len(self.points)

    @property
    def stable(self) -> bool:
        """Every multiplier inside the unit circle."""
        return bool((np.abs(self.multipliers) < 1).all())

    @property
    def turn(self) -> float:
        """Bins of one turn around the centre: what an observer of a sampled oscillation calls its period."""
        return self.period / max(self.turns, 1)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Lyapunov exponents of one orbit, falling.

    Parameters
    ----------
    exponents, errors : array (R,)
        Per bin (natural logarithm), and standard errors from blocks of the orbit.
    steps : int
        Bins averaged over.
    """

    exponents: np.ndarray
    errors: np.ndarray
    steps: int

    @property
    def kaplan_yorke(self) -> float:
        """D = j + Σ_{i≤j} λ_i / |λ_{j+1}|, j the last index with Σ_{i≤j} λ_i ≥ 0 (Kaplan, Yorke 1979). Exponents within
        three errors of 0 count as 0."""
        exponents = np.where(np.abs(self.exponents) <= 3 * self.errors, 0.0, self.exponents)
        sums = np.cumsum(exponents)
        below = np.flatnonzero(sums < 0)
        if not len(below):
            return float(len(exponents))
        j = int(below[0])
        return float(j + (sums[j - 1] / -exponents[j] if j else 0.0))


@dataclass(frozen=True, eq=False)
class Attractor:
    """What noise-free orbits settle on.

    Parameters
    ----------
    kind : str
        'point', 'cycle' (k points), 'invariant circle', 'torus', 'chaos', 'line', 'ring', 'sheet'
    points : array (S, R)
        The point, the cycle, or a sample of the set (bins of one orbit; along the set for a line or ring).
    share : float
        Of the starts, how many settle here.
    timescale : float
        Bins in which a small deviation shrinks by e (slowest direction off the set); inf: it does not.
    period : float
        Bins of one turn; nan without rotation.
    rotation : float
        Turns per bin; nan without rotation.
    spectrum : Spectrum or None
        Lyapunov exponents; of points and cycles from their eigenvalues, without error.
    evidence : dict
        Numbers that the kind rests on (JSON values).
    """

    kind: str
    points: np.ndarray
    share: float
    timescale: float
    period: float = float("nan")
    rotation: float = float("nan")
    spectrum: Spectrum | None = None
    evidence: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SlowPoints:
    """Local minima of the speed q = |F(z) − z| that are no fixed points.

    Parameters
    ----------
    points : array (S, R)
    speed : array (S,)
        |F(z) − z| per bin.
    relative : array (S,)
        Speed over the median speed of the noise-free flow at the data.
    eigenvalues : complex array (S, R)
        Of the Jacobian there, by falling modulus.
    """

    points: np.ndarray
    speed: np.ndarray
    relative: np.ndarray
    eigenvalues: np.ndarray


@dataclass(frozen=True, eq=False)
class Switching:
    """Stochastic latents among attractors (in the order of `Portrait.attractors`), by simulation.

    An attractor is entered when the latent comes into its core, and left when it enters the core of another
    (milestoning: grazing the border is no visit).

    Parameters
    ----------
    occupancy, occupancy_error : array (A,)
        Share of the time that belongs to each attractor, and its standard error over independent walkers.
    dwell, dwell_error : array (A,)
        Mean time from entry to leaving, bins: time there / departures; inf where none left.
    counts : int array (A, A)
        Transitions from row to column.
    rate, rate_error : array (A, A)
        Transitions per bin spent in the row's attractor.
    bins : int
        Total simulated, after burn-in, over all walkers.
    mean : array (R,), covariance : array (R, R)
        Of the stationary density.
    edges : array (2, G + 1), density, density_error : array (G, G)
        Of the first two principal coordinates (see `Portrait.centre`, `Portrait.axes`), per unit area; error over walkers.
    """

    occupancy: np.ndarray
    occupancy_error: np.ndarray
    dwell: np.ndarray
    dwell_error: np.ndarray
    counts: np.ndarray
    rate: np.ndarray
    rate_error: np.ndarray
    bins: int
    mean: np.ndarray
    covariance: np.ndarray
    edges: np.ndarray
    density: np.ndarray
    density_error: np.ndarray


@dataclass(frozen=True, eq=False)
class Visits:
    """Which attractor's basin the posterior mean of each trial is in, and when: one row a visit.

    Parameters
    ----------
    trial : int array (V,)
        Row of the results' trials.
    attractor : int array (V,)
        Index into `Portrait.attractors`; −1: settles nowhere known.
    first, last : int array (V,)
        Bins, both included.
    """

    trial: np.ndarray
    attractor: np.ndarray
    first: np.ndarray
    last: np.ndarray


@dataclass(frozen=True, eq=False)
class Branches:
    """Fixed points as functions of one parameter.

    Parameters
    ----------
    parameter : str
        'input 0', 'decay', …
    value : array (Q,), points : array (Q, R)
        Parameter and fixed point, in the order of the branch.
    branch : int array (Q,)
        To which branch each row belongs.
    eigenvalues : complex array (Q, R)
        By falling modulus; at a kink those of the side that the branch comes from.
    event : str array (Q,)
        '' or what happens there: 'fold', 'flip (period doubling)', 'Neimark–Sacker', 'branch point', 'border collision: …', 'end'.
    checks : dict
        At how many values of the parameter a fresh search was compared with the branches, and what was missing (JSON values).
    """

    parameter: str
    value: np.ndarray
    points: np.ndarray
    branch: np.ndarray
    eigenvalues: np.ndarray
    event: np.ndarray
    checks: dict = field(default_factory=dict)

    @property
    def stable(self) -> np.ndarray:
        """(Q,) every eigenvalue inside the unit circle."""
        return (np.abs(self.eigenvalues) < 1).all(1)


@dataclass(frozen=True, eq=False)
class Portrait:
    """The phase portrait of the noise-free dynamics at one constant input, and what noise makes of it.

    Parameters
    ----------
    name : str
        'single attractor', 'line attractor', 'ring attractor', 'limit cycle', 'bistable switch', 'chaos', …
    reasons : list of str
        What the name rests on, in words and numbers.
    input : array (D,)
    bin_width : float
        Seconds.
    centre : array (R,), axes : array (R, R)
        Mean and principal directions (rows) of the latents that the portrait started from.
    fixed_points : FixedPoints
    attractors : tuple of Attractor
    cycles : tuple of Cycle
        All that were found, stable or not.
    slow : SlowPoints
    switching : Switching or None
    visits : Visits or None
    branches : Branches or None
    settings : dict
        Starts, steps, seed (JSON values).
    """

    name: str
    reasons: list[str]
    input: np.ndarray
    bin_width: float
    centre: np.ndarray
    axes: np.ndarray
    fixed_points: Any
    attractors: tuple[Attractor, ...]
    cycles: tuple[Cycle, ...]
    slow: SlowPoints
    switching: Switching | None = None
    visits: Visits | None = None
    branches: Branches | None = None
    settings: dict = field(default_factory=dict)

    def text(self) -> str:
        """The report, in seconds and hertz."""
        from .report import report

        return report(self)
