"""Gaussian signals (calcium, LFP, EEG)."""

from __future__ import annotations

import math

import torch
from torch import nn

from .base import Observation

WEIGHT = 10.0  # bins


class GaussianSignal(Observation):
    """y ~ N(η, diag(σ²)), with η = C z + d (or another readout) of a continuous signal, in its own units.

    Parameters
    ----------
    readout : Readout or None
        Affine() by default.
    """

    counts = False
    expects = "a continuous signal"

    def attach(self, rank, neurons):
        super().attach(rank, neurons)
        self.log_sd = nn.Parameter(torch.zeros(neurons))
        self.register_buffer("typical", torch.ones(()))  # variance, over neurons
        return self

    def log_terms(self, y, eta, past=None):
        white = (y - eta) * (-self.log_sd).exp()
        return -0.5 * white.square() - self.log_sd - 0.5 * math.log(2 * math.pi)

    def expected(self, eta, past=None):
        return eta

    def draw(self, eta, past, generator):
        noise = torch.randn(eta.shape, generator=generator, dtype=eta.dtype, device=eta.device)
        return eta + self.log_sd.exp() * noise

    def score_and_information(self, y, eta, past=None):
        information = (-2 * self.log_sd).exp()
        return (y - eta) * information, information.expand_as(eta)

    def log_prior(self):
        """Loadings N(0, 1) in units of each neuron's noise: ridge regression on z. Noise: WEIGHT bins more, of the typical variance.

        Without the latter a trace that is flat in training gets σ → 0, and its first transient would outweigh everything else.
        """
        return self.readout.log_prior(self.log_sd.detach().exp()) + noise_prior(self.log_sd, self.typical)

    @torch.no_grad()
    def initialise(self, mean, loadings, variance):
        mean, loadings, variance = (torch.as_tensor(x).to(self.log_sd) for x in (mean, loadings, variance))
        self.typical.fill_(float(variance.mean()))
        self.readout.initialise(mean, loadings)
        self.log_sd.copy_(0.5 * variance.log())


def noise_prior(log_sd: torch.Tensor, typical: torch.Tensor) -> torch.Tensor:
    """As if every neuron had been seen in WEIGHT more bins, with noise of the typical variance."""
    return -WEIGHT * (log_sd + 0.5 * typical * (-2 * log_sd).exp()).sum()
