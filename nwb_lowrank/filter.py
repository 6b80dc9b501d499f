"""smc_filter: the particle filter, the one loop over time."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .gaussian import Message, Scale, Update
from .proposals.base import About, Proposal
from .resampling import Resampler, effective_sample_size, systematic


class Filtered(NamedTuple):
    """What a filter leaves behind.

    particles : (T, K, B, R) before resampling
    log_weights : (T, K, B) before resampling, not normalised
    ancestors : (T, K, B) particle of bin t that each particle of bin t+1 started from
    log_evidence : (B,) estimate of log p(scored y), nats; its exponential is unbiased
    ess : (T, B) effective sample size before resampling
    """

    particles: Tensor
    log_weights: Tensor
    ancestors: Tensor
    log_evidence: Tensor
    ess: Tensor

    def detach(self) -> Filtered:
        """The same numbers without their gradients."""
        return Filtered(*(value.detach() for value in self))


def smc_filter(
    model,
    proposal: Proposal,
    y: Tensor,
    u: Tensor,
    *,
    seen: Tensor,
    scored: Tensor,
    particles: int,
    generator: torch.Generator,
    resample: Resampler = systematic,
) -> Filtered:
    """Filter B trials at once with K particles each.

    Parameters
    ----------
    model : LowRankRNN
    proposal : Proposal
    y : (B, T, N) observations, finite everywhere
    u : (B, T, D) inputs
    seen : bool (B, T, N)
        What the proposal may look at.
    scored : bool (B, T, N)
        What enters the weights. Only the likelihood term is masked: prior − q stays.
    particles : int
        K.
    generator : torch.Generator
        Noise is drawn bin by bin, so that bins padded at the end change nothing.
    resample : Resampler

    Notes
    -----
    Gradients flow along the particles' paths; the resampling indices are constants.
    That biases the gradient of the bound (the bound itself is not biased), unless
    `resample` carries the gradient of its choice (`resampling.with_gradient`).
    """
    K, (B, T, _) = particles, y.shape
    u, observation = model.drive(u), model.observation
    past = _bins(observation.remember(y, scored), T)
    shown = past if seen is scored else _bins(observation.remember(y * seen, seen), T)
    noise_scale = model.noise.scale()
    prior, carried = model.initial(u[:, 0]), y.new_full((K, B), -math.log(K))
    updates = _updates(proposal.look(model, y * seen, u, seen), prior.scale, noise_scale, T)
    log_evidence = y.new_zeros(B)
    kept = []
    for t in range(T):
        q = proposal.propose(model, prior, About(y[:, t] * seen[:, t], u[:, t], seen[:, t], updates[t], shown[t]))
        noise = torch.randn(K, B, model.rank, generator=generator, dtype=y.dtype, device=y.device)
        z = q.sample(noise)
        log_weights = carried + observation.log_prob(y[:, t], z, scored[:, t], past[t])
        if q is not prior:
            log_weights = log_weights + prior.log_prob(z) - q.log_prob_of_noise(noise)
        log_total = log_weights.logsumexp(0)  # carried weights add up to 1, so this is the bin's own evidence
        log_evidence = log_evidence + log_total
        ancestors, carried = resample(log_weights - log_total, generator)
        kept.append((z, log_weights, ancestors))
        if t + 1 < T:
            parents = z.gather(0, ancestors[..., None].expand_as(z))
            prior = model.transition(parents, u[:, t + 1], noise_scale)
    z, log_weights, ancestors = (torch.stack(values) for values in zip(*kept))
    return Filtered(z, log_weights, ancestors, log_evidence, effective_sample_size(log_weights.detach(), dim=1))


def _bins(past: Tensor | None, bins: int) -> list[Tensor | None]:
    """(B, T, N, F) bin by bin; None where an observation model remembers nothing."""
    return [None] * bins if past is None else list(past.unbind(1))


def _updates(messages: Message | None, first: Scale, later: Scale, bins: int) -> list[Update | None]:
    """The products with all messages at once: z_1 has a covariance of its own, later bins share one."""
    if messages is None:
        return [None] * bins
    initial = first.times(Message(messages.precision[0], messages.shift[0]))
    rest = later.times(Message(messages.precision[1:], messages.shift[1:]))
    rest.scale.log_normaliser  # computed here for all bins at once, not bin by bin
    return [initial] + [rest.at(t) for t in range(bins - 1)]
