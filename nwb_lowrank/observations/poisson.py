"""Poisson spike counts."""

from __future__ import annotations

import torch

from .counts import Counts


class Poisson(Counts):
    """y ~ Poisson(link(η)), spikes per bin, η = C z + d (or another readout), plus the spike history's part if there is one.

    Parameters
    ----------
    link : Link
        Softplus() as in the paper, or Exp().
    readout : Readout or None
        Affine() by default.
    history : SpikeHistory or None
    """

    def log_terms(self, y, eta, past=None):
        eta = self.with_past(eta, past)
        return y * self.link.log(eta) - self.link(eta) - torch.lgamma(y + 1)

    def log_prob(self, y, z, mask, past=None):
        """As B matrix-vector products: this is the filter's dearest line."""
        eta = self.with_past(self.readout(z), past)
        spikes, mask = y * mask, mask.to(y)
        constant = torch.lgamma(spikes + 1).sum(-1)
        return _sum(self.link.log(eta), spikes) - _sum(self.link(eta), mask) - constant

    def draw(self, eta, past, generator):
        return torch.poisson(self.expected(eta, past), generator=generator)

    def score_and_information(self, y, eta, past=None):
        eta = self.with_past(eta, past)
        rate, log_slope = self.link(eta), self.link.log_slope(eta)
        return (y - rate) * log_slope, rate * log_slope.square()


def _sum(terms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Σ_n terms (K, B, N) · weights (B, N) -> (K, B), as B matrix-vector products."""
    return torch.einsum("kbn,bn->kb", terms, weights)
