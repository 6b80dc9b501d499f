"""generate: activity that a fitted model makes up by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .results import Fit, Posterior
from .trials import Trials


@dataclass(frozen=True, eq=False)
class Generated:
    """Activity drawn from a model.

    Parameters
    ----------
    latents : array (S, B, T, R)
    observations : array (S, B, T, N)
        Counts per bin, or the continuous signal.
    """

    latents: np.ndarray
    observations: np.ndarray


@torch.no_grad()
def generate(
    fit: Fit,
    trials: Trials,
    *,
    posterior: Posterior | None = None,
    draws: int = 1,
    bins: int | None = None,
    noise: bool = True,
    seed: int = 0,
) -> Generated:
    """Let the fitted model run freely, with the inputs of `trials` and without their activity.

    Parameters
    ----------
    fit : Fit
    trials : Trials
        B trials: their inputs condition what is generated, and their length is its length.
    posterior : Posterior or None
        z_1 of each trial is drawn from the posterior of its first bin (`infer` of the same trials; with `keep_draws` from its
        trajectories, else from a normal distribution of its mean and sd). None: z_1 comes from the prior p(z_1 | u_1).
    draws : int
        S, independent repeats of all trials.
    bins : int or None
        Length, for a model without inputs; None: that of the trials.
    noise : bool
        False: the deterministic dynamics (observations stay random).
    seed : int

    Returns
    -------
    Generated

    Raises
    ------
    ValueError
        Trials or posterior of other sizes, draws or bins below 1, or `bins` for a model with inputs.
    """
    if draws < 1 or (bins is not None and bins < 1):
        raise ValueError(f"generate: draws and bins must be at least 1; got draws={draws}, bins={bins}. Leave them out.")
    model = fit.model
    inputs = _inputs(model, trials, bins)
    random = np.random.default_rng(seed)
    latents, observations = [], []
    for number in range(draws):
        first = None if posterior is None else torch.as_tensor(_initial(posterior, trials, number, random)).to(model.m)
        z, y = model.simulate(inputs, seed=int(random.integers(2**62)), initial=first, noise=noise)
        latents.append(z.numpy())
        observations.append(y.numpy())
    return Generated(np.stack(latents), np.stack(observations))


def _inputs(model, trials: Trials, bins: int | None) -> torch.Tensor:
    """(B, T, D), checked."""
    if trials.inputs.shape[-1] != model.inputs:
        raise ValueError(
            f"generate: the model expects {model.inputs} inputs; the trials have {trials.inputs.shape[-1]}. Pass the trials of the fit."
        )
    if bins is None:
        return torch.as_tensor(trials.inputs).to(model.m)
    if model.inputs:
        raise ValueError("generate: bins= is for a model without inputs; this one has some. Pass trials with inputs of that length.")
    return model.m.new_zeros(len(trials), bins, 0)


def _initial(posterior: Posterior, trials: Trials, number: int, random: np.random.Generator) -> np.ndarray:
    """(B, R) draws of z_1 given the trials."""
    if len(posterior.latents) != len(trials):
        raise ValueError(f"generate: posterior must be of the same {len(trials)} trials; got {len(posterior.latents)}. "
                         "Use infer(fit, trials).")  # fmt: skip
    if posterior.draws is None:
        return posterior.latents[:, 0] + posterior.latents_sd[:, 0] * random.standard_normal(posterior.latents[:, 0].shape)
    return posterior.draws[number % len(posterior.draws), :, 0]
