"""Poisson spike counts."""

from __future__ import annotations

import torch

from .base import Link, Observation, Softplus


class Poisson(Observation):
    """y ~ Poisson(link(C z + d)), spikes per bin.

    Parameters
    ----------
    link : Link
        Softplus() as in the paper, or Exp().
    """

    def __init__(self, link: Link | None = None):
        super().__init__()
        self.link = link or Softplus()

    def log_prob(self, y, z, mask):
        eta = self.readout(z)
        spikes, mask = y * mask, mask.to(y)
        constant = torch.lgamma(spikes + 1).sum(-1)
        return _sum(self.link.log(eta), spikes) - _sum(self.link(eta), mask) - constant

    def mean(self, z):
        return self.link(self.readout(z))

    def sample(self, z, generator):
        return torch.poisson(self.mean(z), generator=generator)

    def score_and_information(self, y, eta):
        rate, log_slope = self.link(eta), self.link.log_slope(eta)
        return (y - rate) * log_slope, rate * log_slope.square()

    def log_prior(self):
        """Loadings N(0, 1), log-rate units per unit of z, and half a spike more per neuron, seen at z = 0."""
        return 0.5 * self.link.log(self.bias).sum() - 0.5 * self.loadings.square().sum()

    @torch.no_grad()
    def initialise(self, mean, loadings, variance):
        mean, loadings = (torch.as_tensor(x).to(self.bias) for x in (mean, loadings))
        eta = self.link.inverse(mean)
        self.loadings.copy_(loadings / self.link.slope(eta)[:, None])
        # A convex link lifts the mean rate of a fluctuating readout: bring the mean back by Newton steps on d.
        spread = torch.randn(2000, loadings.shape[1], generator=torch.Generator().manual_seed(0)).to(self.bias)
        spread = spread @ self.loadings.mT
        for _ in range(50):
            readout = eta + spread
            error = self.link(readout).mean(0) - mean
            eta = eta - (error / self.link.slope(readout).mean(0)).clamp(-1, 1)
        self.bias.copy_(eta)


def _sum(terms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Σ_n terms (K, B, N) · weights (B, N) -> (K, B), as B matrix-vector products."""
    return torch.einsum("kbn,bn->kb", terms, weights)
