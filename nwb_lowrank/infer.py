"""infer: latents, rates and evidence of trials under a fitted model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .checks import check_trials, choose_device, warn_of_collapse
from .filter import smc_filter
from .resampling import adaptive, systematic
from .results import Fit, Posterior
from .smoother import backward_sample, smoothing_weights
from .trials import Trials

ENTRIES = 2**23  # of rates held at once: 32 MB


@torch.no_grad()
def infer(
    fit: Fit,
    trials: Trials,
    *,
    particles: int = 256,
    draws: int = 64,
    repeats: int = 1,
    seed: int = 0,
    batch_size: int = 32,
    keep_draws: bool = False,
    marginal: bool = False,
    device: str = "auto",
    on_batch: Callable[[int, int], None] | None = None,
) -> Posterior:
    """Smooth trials with a fitted model.

    Only what is seen is scored (scored = seen): held-out neurons and forecast
    bins touch neither the latents nor the weights, so that the rates predicted
    for them are honest.

    Parameters
    ----------
    fit : Fit
    trials : Trials
        B trials of T bins and the model's N neurons.
    particles : int
        K; usually more than in training.
    draws : int
        S, smoothed trajectories per filter.
    repeats : int
        Independent filters averaged; the smoother's bias falls as 1/K, its noise as 1/√repeats.
    seed : int
    batch_size : int
        Trials filtered at once. Part of the recipe: the noise depends on it.
    keep_draws : bool
        Keep the trajectories (S·repeats, B, T, R) in the result.
    marginal : bool
        Latents and rates are averages over the filter's particles with marginal smoothing weights (`smoothing_weights`) rather
        than over draws: without the noise of drawing, at a cost of K² a bin.
    device : str
        "auto" takes CUDA when there is one.
    on_batch : function(done, total) or None

    Returns
    -------
    Posterior
    """
    check_trials(fit.model, trials)
    if marginal and fit.model.observation.reach:
        raise ValueError(
            f"infer: marginal=True needs rates that depend on the present bin alone; {type(fit.model.observation).__name__} remembers "
            "earlier ones. Leave it out: draws are whole trajectories."
        )
    device = choose_device(device)
    model, proposal = fit.model.to(device).eval(), fit.proposal.to(device).eval()
    generator = torch.Generator(device).manual_seed(seed)
    batches = np.array_split(np.arange(len(trials)), -(-len(trials) // batch_size))
    parts = []
    for number, rows in enumerate(batches):
        y, u, seen = (
            torch.tensor(array[rows], device=device).to(model.m if array.dtype.kind == "f" else torch.bool)
            for array in (trials.counts, trials.inputs, trials.seen)
        )
        parts.append(_smooth_batch(model, proposal, y, u, seen, particles, draws, repeats, generator, keep_draws, marginal))
        if on_batch:
            on_batch(number + 1, len(batches))
    fit.model.cpu(), fit.proposal.cpu()
    joined = {
        name: np.concatenate([part[name] for part in parts], axis)
        for name, axis in (("latents", 0), ("latents_sd", 0), ("rates", 0), ("log_evidence", 0), ("ess", 1))
    }
    ess, seen = torch.as_tensor(joined["ess"]), torch.as_tensor(trials.seen.any(-1))
    warn_of_collapse("infer", ess, seen, particles=particles, proposal=proposal)
    draws_kept = np.concatenate([part["draws"] for part in parts], 1) if keep_draws else None
    settings = dict(particles=particles, draws=draws, repeats=repeats, seed=seed, batch_size=batch_size, marginal=marginal)
    return Posterior(**joined, draws=draws_kept, settings=settings)


def _smooth_batch(model, proposal, y, u, seen, particles, draws, repeats, generator, keep_draws, marginal) -> dict[str, np.ndarray]:
    """Filter and smooth one batch; sums are kept rather than trajectories, so memory does not grow with repeats."""
    total = square = rates = evidence = ess = 0
    kept = []
    for _ in range(repeats):
        filtered = smc_filter(
            model,
            proposal,
            y,
            u,
            seen=seen,
            scored=seen,
            particles=particles,
            generator=generator,
            resample=adaptive(0.5, systematic),
        )
        path = backward_sample(model, filtered, u, draws=draws, generator=generator) if keep_draws or not marginal else None
        first, second, rate = _weighed(model, filtered, u) if marginal else _drawn(model, path)
        total, square, rates = total + first, square + second, rates + rate
        evidence, ess = evidence + filtered.log_evidence, ess + filtered.ess
        if keep_draws:
            kept.append(path)
    mean = total / repeats
    arrays = dict(
        latents=mean,
        latents_sd=(square / repeats - mean.square()).clamp_min(0).sqrt(),
        rates=rates / repeats,
        log_evidence=evidence / repeats,
        ess=ess / repeats,
    )
    if keep_draws:
        arrays["draws"] = torch.cat(kept)
    return {name: value.cpu().numpy() for name, value in arrays.items()}


def _drawn(model, path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean and mean square of z (B, T, R) and mean rates (B, T, N) of trajectories (S, B, T, R).

    One trajectory after the other, but for observations with memory: these walk bin by bin, and do so with many at once.
    """
    size = max(1, ENTRIES // (path[0, ..., 0].numel() * model.neurons)) if model.observation.reach else 1
    rates = sum(model.observation.mean_path(some).sum(0) for some in path.split(size))
    return path.mean(0), path.square().mean(0), rates / len(path)


def _weighed(model, filtered, u) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same of the filter's particles under their smoothing weights."""
    weights = smoothing_weights(model, filtered, u).permute(1, 2, 0)[..., None]  # (K, B, T, 1)
    z = filtered.particles.permute(1, 2, 0, 3)
    rates = sum(weight * model.observation.mean(particle) for weight, particle in zip(weights, z))
    return (weights * z).sum(0), (weights * z.square()).sum(0), rates
