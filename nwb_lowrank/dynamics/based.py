"""A portrait in another basis of latent space: what has a place or a length moves; exponents, multipliers, times and shares stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..reading import Reading
from .base import Attractor, Branches, Cycle, Portrait
from .naming import reasons_of


def in_basis(found: Portrait, reading: Reading) -> Portrait:
    """The portrait with positions x = A z: fixed points and Jacobians, attractors, cycles, slow points, branches, stationary moments.

    Speeds of slow points stay those of z. The principal axes become the rows that give the same coordinates, so that density and
    plane stay what they are.
    """
    A, x = reading.matrix, reading.latents
    attractors = tuple(_attractor(one, reading) for one in found.attractors)
    points = reading.fixed_points(found.fixed_points)
    said = reasons_of(attractors, points, max(0.0, 1 - sum(one.share for one in attractors)) if attractors else 1.0, found.bin_width)
    others = [reason for reason in found.reasons if reason.startswith("noise")]
    switching = found.switching
    if switching is not None:
        switching = replace(switching, mean=x(switching.mean), covariance=A @ switching.covariance @ A.T)
    return replace(
        found, reasons=[*said, *others], centre=x(found.centre), axes=found.axes @ np.linalg.inv(A), fixed_points=points,
        attractors=attractors, cycles=cycles_in(found.cycles, reading), slow=replace(found.slow, points=x(found.slow.points)),
        switching=switching, branches=None if found.branches is None else branches_in(found.branches, reading),
        settings={**found.settings, "basis": "reading"},
    )  # fmt: skip


def cycles_in(cycles: tuple[Cycle, ...], reading: Reading) -> tuple[Cycle, ...]:
    """Cycles in the basis of `reading`."""
    stretch = np.abs(reading.matrix).sum(1).max()
    return tuple(replace(cycle, points=reading.latents(cycle.points), residual=cycle.residual * stretch) for cycle in cycles)


def branches_in(branches: Branches, reading: Reading) -> Branches:
    """Branches in the basis of `reading`."""
    return replace(branches, points=reading.latents(branches.points))


def _attractor(one: Attractor, reading: Reading) -> Attractor:
    points = reading.latents(one.points)
    evidence = dict(one.evidence)
    if "length" in evidence:
        before, after = _way(one.points), _way(points)
        evidence["length"] = float(evidence["length"] * after / max(before, 1e-300))
    return replace(one, points=points, evidence=evidence)


def _way(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
