"""portrait: everything that the noise-free dynamics do at one constant input, and a name for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..model import LowRankRNN
from ..results import FixedPoints
from ..searches.base import Dynamics
from .attractors import attractors_of
from .base import Cycle, Portrait
from .cycles import find_cycles
from .naming import name_of, reasons_of
from .orbits import principal
from .points import points_of
from .slow import find_slow_points
from .transitions import Diverged, switching, visits

FALLBACK = (64, 100)  # trials and bins of a simulation that stands in for data


def portrait(
    model: LowRankRNN, latents=None, *, lengths=None, u=None, inputs=None, bin_width: float, fixed_points: FixedPoints | None = None,
    starts: int = 128, cycles: bool = True, noise: bool = True, seed: int = 0,
) -> Portrait:  # fmt: skip
    """Fixed points, attractors, cycles, slow points and switching, from orbits that begin at the data's latents.

    Parameters
    ----------
    model : LowRankRNN
        Left as it is; all work is done on a float64 copy.
    latents : array (B, T, R) or None
        Posterior means. None: latents that the model itself simulates; then no trial is assigned to attractors.
    lengths : int array (B,) or None
        Recorded bins of each trial; None: all.
    u : array (D,) or None
        Constant input; None is zero.
    inputs : array (B, T, D) or None
        Of the trials whose latents are given: in whose basin a latent is, is told with the inputs that its trial has still to come.
    bin_width : float
        Seconds, for the readings in seconds and hertz.
    fixed_points : FixedPoints or None
        At this input, from find_fixed_points; None: searched here, for a smooth φ only for seconds.
    starts : int
        Latents, drawn at random, from which orbits begin.
    cycles : bool
        Look for unstable cycles as well (those that attract are always found).
    noise : bool
        Simulate switching among the attractors.
    seed : int

    Returns
    -------
    Portrait
        Its `name` and `reasons` rest on nothing but the numbers in it.

    Raises
    ------
    ValueError
        Latents of another rank, no finite latent, or a bin width that is not positive.
    """
    dynamics = Dynamics.of(model, u)
    given = latents is not None
    latents, lengths = _latents(model, latents, lengths, seed)
    if not bin_width > 0:
        raise ValueError(f"portrait: bin_width must be positive seconds; got {bin_width}. Pass trials.bin_width.")
    if inputs is not None and not given:
        raise ValueError("portrait: inputs are those of the trials whose latents are given; got no latents. Pass posterior.latents too.")
    pushes = _pushes(model, u, inputs, latents.shape)
    inside = (np.arange(latents.shape[1]) < lengths[:, None]) & np.isfinite(latents).all(-1)
    seen = latents[inside]
    centre, axes, _ = principal(seen)
    begin = np.random.default_rng(seed).permutation(len(seen))[:starts]
    points = points_of(model, u) if fixed_points is None else fixed_points
    attractors, label, stable = attractors_of(dynamics, seen[begin], points)
    all_cycles = _joined(stable, find_cycles(dynamics, seen[begin[:24]]) if cycles else ())
    slow = find_slow_points(dynamics, seen[begin], seed=seed)
    found = Portrait(
        name=name_of(attractors, points), reasons=reasons_of(attractors, points, float((label < 0).mean()), bin_width),
        input=np.zeros(model.inputs) if u is None else np.asarray(u, float), bin_width=float(bin_width), centre=centre, axes=axes,
        fixed_points=points, attractors=attractors, cycles=all_cycles, slow=slow,
        settings=dict(starts=len(begin), from_data=given, cycles_searched=cycles, inputs_in_time=pushes is not None, seed=seed),
    )  # fmt: skip
    if noise and attractors:
        try:
            found = replace(found, switching=switching(dynamics, _covariance(model), seen, attractors, centre=centre, axes=axes, seed=seed))
        except Diverged:
            found = replace(found, reasons=[*found.reasons, "noise drives every orbit out of all basins: they diverge"])
    if given and attractors:
        found = replace(found, visits=visits(dynamics, np.where(inside[..., None], latents, 0.0), lengths, attractors, pushes=pushes))
    return found


def _latents(model: LowRankRNN, latents, lengths, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents (B, T, R) in float64 and recorded bins (B,)."""
    if latents is None:
        trials, bins = FALLBACK
        latents = model.simulate(torch.zeros(trials, bins, model.inputs), seed=seed)[0].cpu().numpy()
    latents = np.asarray(latents, float)
    if latents.ndim != 3 or latents.shape[-1] != model.rank:
        raise ValueError(f"portrait: latents must be (trial, bin, {model.rank}); got shape {latents.shape}. Pass posterior.latents.")
    lengths = np.full(len(latents), latents.shape[1]) if lengths is None else np.asarray(lengths)
    if lengths.shape != (len(latents),):
        raise ValueError(f"portrait: lengths must have one entry a trial ({len(latents)}); got shape {lengths.shape}. Pass trials.lengths.")
    if np.isfinite(latents).all(-1).sum() < 2:
        raise ValueError(
            "portrait: latents must hold at least two finite points; got none or one. Pass posterior.latents of recorded trials."
        )
    return latents, lengths


@torch.no_grad()
def _pushes(model: LowRankRNN, u, inputs, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """By how much the trials' inputs differ from the constant one (B, T, D), and w (H, D); None where they do not."""
    if inputs is None or not model.inputs:
        return None
    if np.shape(inputs) != (*shape[:2], model.inputs):
        raise ValueError(
            f"portrait: inputs must be (trial, bin, input) {(*shape[:2], model.inputs)}; got shape {np.shape(inputs)}. Pass trials.inputs."
        )
    seen = model.drive(torch.as_tensor(np.asarray(inputs)).to(model.m)).double().cpu().numpy()
    seen = seen - (0.0 if u is None else np.asarray(u, float))
    return (seen, model.w.detach().double().cpu().numpy()) if np.abs(seen).max(initial=0) > 0 else None


def _joined(stable: list[Cycle], found: tuple[Cycle, ...]) -> tuple[Cycle, ...]:
    """Both, each cycle once, by period."""
    fresh = [cycle for cycle in found if not any(_same(cycle, other) for other in stable)]
    return tuple(sorted([*stable, *fresh], key=lambda cycle: (cycle.period, not cycle.stable)))


def _same(one: Cycle, other: Cycle) -> bool:
    near = np.linalg.norm(other.points - one.points[0], axis=1).min()
    return one.period == other.period and near < 1e-6 * np.abs(one.points).max()


@torch.no_grad()
def _covariance(model: LowRankRNN) -> np.ndarray:
    """Of the noise ε_t, (R, R)."""
    chol = model.noise.chol().double().cpu().numpy()
    return np.atleast_2d(chol @ chol.T)
