"""The name of a phase portrait, and the reasons for it, from what was computed alone."""

from __future__ import annotations

import numpy as np

from ..results import FixedPoints
from .base import Attractor
from .readings import describe, duration

ONE = {
    "point": "single attractor",
    "cycle": "limit cycle",
    "invariant circle": "limit cycle",
    "torus": "quasi-periodic torus",
    "chaos": "chaos",
    "line": "line attractor",
    "ring": "ring attractor",
    "sheet": "sheet attractor",
}
SHORT_TURN = 3.0  # bins: a cycle that turns faster than this is an alternation of bins, not a sampled oscillation


def name_of(attractors: tuple[Attractor, ...], points: FixedPoints) -> str:
    """The portrait's name: of the attractors that starts settle on, or of all where none does."""
    reached = reached_of(attractors)
    if not attractors:
        return "no attractor"
    kinds = [_kind(attractor, points) for attractor in reached]
    if len(kinds) == 1:
        return kinds[0]
    if set(kinds) == {"single attractor"}:
        return "bistable switch" if len(kinds) == 2 else f"multistable switch ({len(kinds)} attractors)"
    parts = [f"{kinds.count(kind)} {kind}s" if kinds.count(kind) > 1 else kind for kind in dict.fromkeys(kinds)]
    return ("bistable: " if len(kinds) == 2 else "multistable: ") + " and ".join(parts).replace("single attractor", "point attractor")


def reached_of(attractors: tuple[Attractor, ...]) -> tuple[Attractor, ...]:
    """Those that at least one start settles on; all of them where none does."""
    return tuple(attractor for attractor in attractors if attractor.share > 0) or attractors


def reasons_of(attractors: tuple[Attractor, ...], points: FixedPoints, undecided: float, bin_width: float) -> list[str]:
    """What the name rests on, one sentence an attractor, in seconds and hertz."""
    reached = reached_of(attractors)
    said = [f"{attractor.share:.0%} of the starts settle on {_sentence(attractor, points, bin_width)}" for attractor in reached]
    if len(attractors) > len(reached):
        said.append(f"{len(attractors) - len(reached)} more attractors exist on which no start settles")
    if undecided > 0:
        said.append(f"{undecided:.0%} of the starts diverge or were still under way when the search ended")
    saddles = [kind for kind in points.kinds if not kind.startswith("attractor")]
    if saddles and not any(attractor.kind in ("line", "ring", "sheet") for attractor in reached):
        counted = {kind: saddles.count(kind) for kind in dict.fromkeys(saddles)}
        said.append("unstable fixed points: " + ", ".join(f"{count} {kind}" for kind, count in counted.items()))
    return said


def _kind(attractor: Attractor, points: FixedPoints) -> str:
    if (
        attractor.kind == "cycle"
        and attractor.evidence["turns"] * SHORT_TURN > len(attractor.points)
        or (attractor.kind == "cycle" and attractor.evidence["turns"] == 0)
    ):
        return f"cycle of {len(attractor.points)} bins"
    if attractor.kind == "chaos" and lorenz_like(attractor, points):
        return "Lorenz-like chaos"
    return ONE[attractor.kind]


def lorenz_like(attractor: Attractor, points: FixedPoints) -> bool:
    """Two lobes: one positive exponent, dimension just above 2, and the orbit winds around two spiral saddles (two unstable directions
    each) with a saddle (one unstable direction) between them."""
    spectrum = attractor.spectrum
    positive = (spectrum.exponents > np.maximum(3 * spectrum.errors, 5 / spectrum.steps)).sum()
    unstable = (np.abs(points.eigenvalues) >= 1).sum(1)
    spiral = np.abs(points.eigenvalues.imag).max(1, initial=0) > 1e-9
    foci, gates = points.points[(unstable == 2) & spiral], points.points[unstable == 1]
    if positive != 1 or not 2 <= spectrum.kaplan_yorke < 2.5 or len(foci) != 2 or not len(gates):
        return False
    # Both lobes are visited, and for long.
    axis = foci[1] - foci[0]
    side = (attractor.points - foci.mean(0)) @ axis / (axis @ axis)
    return bool(min((side > 0.1).mean(), (side < -0.1).mean()) > 0.1)


def _sentence(attractor: Attractor, points: FixedPoints, bin_width: float) -> str:
    evidence, lasts = attractor.evidence, duration(attractor.timescale * bin_width)
    if attractor.kind == "point":
        values = points.eigenvalues[_nearest(points, attractor)] if len(points.points) else np.zeros(0)
        return f"a fixed point ({describe(values, bin_width)})"
    if attractor.kind in ("line", "ring", "sheet"):
        drift = "nothing moves along it" if not np.isfinite(evidence["drift_bins"]) else (
            f"drifting along all of it takes {duration(evidence['drift_bins'] * bin_width)}")  # fmt: skip
        what = dict(line="a curve of (almost) fixed points with two ends", ring="a closed curve of (almost) fixed points",
                    sheet=f"a {evidence['dimension']}-dimensional set of (almost) fixed points")[attractor.kind]  # fmt: skip
        value = evidence["slowest_eigenvalue"]
        return f"{what}, {evidence['length']:.3g} long: eigenvalue {value:.6g} along it, {lasts} to relax onto it, {drift}"
    turn = f"one turn takes {duration(attractor.period * bin_width)} ({attractor.rotation / bin_width:.3g} Hz)"
    if attractor.kind == "cycle":
        around = f", {turn}" if evidence["turns"] else ""
        return f"a cycle of {evidence['bins']} bins that closes exactly{around}, deviations shrink by e in {lasts}"
    exponents = ", ".join(f"{value / bin_width:.3g}" for value in evidence["lyapunov"])
    errors = ", ".join(f"{value / bin_width:.1g}" for value in evidence["lyapunov_error"])
    measured = f"Lyapunov exponents {exponents} per s (± {errors})"
    if attractor.kind == "chaos":
        return f"a chaotic set: {measured}, Kaplan–Yorke dimension {attractor.spectrum.kaplan_yorke:.3g}"
    if attractor.kind == "torus":
        return f"a set of several unlocked rotations: {measured}; strongest: {turn}"
    return f"a closed curve that orbits fill without closing: {turn}, deviations shrink by e in {lasts}, {measured}"


def _nearest(points: FixedPoints, attractor: Attractor) -> int:
    return int(np.linalg.norm(points.points - attractor.points[0], axis=1).argmin())
