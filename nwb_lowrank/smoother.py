"""backward_sample: whole trajectories from p(z_1:T | y_1:T) by backward simulation; smoothing_weights: its marginals."""

from __future__ import annotations

import torch
from torch import Tensor

from .filter import Filtered
from .gaussian import Gaussian


@torch.no_grad()
def backward_sample(model, filtered: Filtered, u: Tensor, *, draws: int, generator: torch.Generator, chunk: int = 2**24) -> Tensor:
    """Draw trajectories of the smoothing distribution (FFBSi; Godsill, Doucet, West 2004).

    From the last bin backwards, each draw picks particle i of bin t with
    probability ∝ w_t^i p(z_{t+1} | z_t^i).

    Parameters
    ----------
    model : LowRankRNN
    filtered : Filtered
        Of `smc_filter`, with T bins, K particles, B trials.
    u : (B, T, D) inputs
    draws : int
        S, trajectories per trial.
    generator : torch.Generator
    chunk : int
        Largest number of (draw, particle, trial, dimension) entries held at once.

    Returns
    -------
    (S, B, T, R)
    """
    T, K, B, R = filtered.particles.shape
    u, path = model.drive(u), filtered.particles.new_empty(draws, B, T, R)
    picked = _categorical(filtered.log_weights[-1].expand(draws, K, B), generator)
    path[:, :, -1] = _take(filtered.particles[-1], picked)
    noise_scale = model.noise.scale()
    size = max(1, chunk // (K * B * R))
    for t in range(T - 2, -1, -1):
        transition = model.transition(filtered.particles[t], u[:, t + 1], noise_scale)
        for rows in torch.arange(draws, device=path.device).split(size):
            after = path[rows, None, :, t + 1]
            log_weights = filtered.log_weights[t] + Gaussian(transition.mean[None], transition.scale).log_prob(after)
            path[rows, :, t] = _take(filtered.particles[t], _categorical(log_weights, generator))
    return path


@torch.no_grad()
def smoothing_weights(model, filtered: Filtered, u: Tensor, *, chunk: int = 2**24) -> Tensor:
    """Weights of the filter's own particles under p(z_t | y_1:T) (FFBSm; Doucet, Godsill, Andrieu 2000): no noise of draws, K² a bin.

    w_t|T^i = w_t^i Σ_j w_t+1|T^j p(z_t+1^j | z_t^i) / Σ_l w_t^l p(z_t+1^j | z_t^l)

    Parameters
    ----------
    model, filtered, u, chunk
        As in `backward_sample`.

    Returns
    -------
    (T, K, B)
        They add up to 1 over K. Marginal means are Σ_i w_t|T^i f(z_t^i).
    """
    T, K, B, R = filtered.particles.shape
    u, weights = model.drive(u), torch.empty_like(filtered.log_weights)
    weights[-1] = filtered.log_weights[-1].softmax(0)
    noise_scale = model.noise.scale()
    size = max(1, chunk // (K * B * R))
    for t in range(T - 2, -1, -1):
        transition = model.transition(filtered.particles[t], u[:, t + 1], noise_scale)
        weights[t] = 0
        for rows in torch.arange(K, device=u.device).split(size):
            after = filtered.particles[t + 1, rows, None]
            log_weights = filtered.log_weights[t] + Gaussian(transition.mean[None], transition.scale).log_prob(after)
            weights[t] += (weights[t + 1, rows, None] * log_weights.softmax(1)).sum(0)
    return weights


def _categorical(log_weights: Tensor, generator: torch.Generator) -> Tensor:
    """One index along K for every (draw, trial): (S, K, B) -> (S, B), by inverting the cumulative weights."""
    cumulative = torch.softmax(log_weights, 1).cumsum(1)
    pointer = torch.rand(cumulative[:, :1].shape, generator=generator, dtype=cumulative.dtype, device=cumulative.device)
    return (cumulative < pointer * cumulative[:, -1:]).sum(1).clamp(max=log_weights.shape[1] - 1)


def _take(particles: Tensor, index: Tensor) -> Tensor:
    """Particle index (S, B) of particles (K, B, R) -> (S, B, R)."""
    return particles.gather(0, index[..., None].expand(*index.shape, particles.shape[-1]))
