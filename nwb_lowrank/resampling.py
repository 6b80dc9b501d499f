"""Resampling of weighted particles: which particle of bin t is the ancestor of each particle of bin t+1.

All rivals share one signature and decide for every trial at once:
    resample(log_weights (K, B), generator) -> Resampled(ancestors (K, B), carried (K, B))
with normalised log-weights (their exponentials add up to 1). `carried` are the normalised log-weights that go on to the next bin. Dropping
them would bias the evidence wherever a trial was not resampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Resampled(NamedTuple):
    ancestors: Tensor
    carried: Tensor


Resampler = Callable[[Tensor, torch.Generator], Resampled]


def systematic(log_weights: Tensor, generator: torch.Generator) -> Resampled:
    """One uniform number a trial, K equally spaced pointers: the lowest-variance common scheme."""
    K, B = log_weights.shape
    first = torch.rand(1, B, generator=generator, dtype=log_weights.dtype, device=log_weights.device)
    pointers = (torch.arange(K, dtype=log_weights.dtype, device=log_weights.device)[:, None] + first) / K
    return _pick(log_weights, pointers)


def multinomial(log_weights: Tensor, generator: torch.Generator) -> Resampled:
    """K independent draws."""
    pointers = torch.rand(log_weights.shape, generator=generator, dtype=log_weights.dtype, device=log_weights.device)
    return _pick(log_weights, pointers)


def never(log_weights: Tensor, generator: torch.Generator | None = None) -> Resampled:
    """Keep every particle and carry its weight: sequential importance sampling."""
    return Resampled(_identity(log_weights), log_weights)


@dataclass(frozen=True)
class with_gradient:
    """Resample by `scheme`, and let gradients know that other particles could have been chosen.

    The carried log-weights keep their value and gain the gradient of the chosen particles' log-weights, relative to
    their mean (Ścibior & Wood 2021, stop-gradient resampling). Without it, later bins never tell earlier ones which
    particles to favour: the gradient of the bound is that of another objective, however many particles there are.
    """

    scheme: Resampler = systematic

    def __call__(self, log_weights: Tensor, generator: torch.Generator) -> Resampled:
        ancestors, carried = self.scheme(log_weights, generator)
        chosen = log_weights.gather(0, ancestors)
        carried = carried + chosen - chosen.detach()
        return Resampled(ancestors, carried - carried.logsumexp(0))


@dataclass(frozen=True)
class adaptive:
    """Resample a trial only when its effective sample size is below `threshold` · K.

    Parameters
    ----------
    threshold : float
        Share of K; 1 resamples always, 0 never.
    scheme : systematic or multinomial
    """

    threshold: float = 0.5
    scheme: Resampler = systematic

    def __call__(self, log_weights: Tensor, generator: torch.Generator) -> Resampled:
        if self.threshold >= 1:
            return self.scheme(log_weights, generator)
        drawn, kept = self.scheme(log_weights, generator), never(log_weights)
        due = effective_sample_size(log_weights) < self.threshold * len(log_weights)
        return Resampled(torch.where(due, drawn.ancestors, kept.ancestors), torch.where(due, drawn.carried, kept.carried))


def effective_sample_size(log_weights: Tensor, dim: int = 0) -> Tensor:
    """1 / Σ w² over particles (dimension `dim`), between 1 and K; the weights need not be normalised."""
    return 1 / log_weights.softmax(dim).square().sum(dim)


@torch.no_grad()
def _pick(log_weights: Tensor, pointers: Tensor) -> Resampled:
    """Invert each trial's cumulative weights at the pointers."""
    K = len(log_weights)
    cumulative = log_weights.exp().cumsum(0)
    cumulative = cumulative / cumulative[-1]  # rounding must not leave a pointer beyond the last particle
    ancestors = torch.searchsorted(cumulative.mT.contiguous(), pointers.mT.contiguous(), right=True).mT
    return Resampled(ancestors.clamp(max=K - 1), torch.full_like(log_weights, -math.log(K)))


def _identity(log_weights: Tensor) -> Tensor:
    return torch.arange(len(log_weights), device=log_weights.device)[:, None].expand_as(log_weights)
