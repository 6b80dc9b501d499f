"""Gaussian signals (calcium, LFP, EEG)."""

from __future__ import annotations

import math

import torch
from torch import nn

from .base import Observation

WEIGHT = 10.0  # bins


class GaussianSignal(Observation):
    """y ~ N(C z + d, diag(σ²)), an affine readout of a continuous signal."""

    counts = False

    def attach(self, rank, neurons):
        super().attach(rank, neurons)
        self.log_sd = nn.Parameter(torch.zeros(neurons))
        self.register_buffer("typical", torch.ones(()))  # variance, over neurons
        return self

    def log_prob(self, y, z, mask):
        white = (y - self.readout(z)) * (-self.log_sd).exp()
        terms = -0.5 * white.square() - self.log_sd - 0.5 * math.log(2 * math.pi)
        return torch.where(mask, terms, 0).sum(-1)

    def mean(self, z):
        return self.readout(z)

    def sample(self, z, generator):
        mean = self.readout(z)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + self.log_sd.exp() * noise

    def score_and_information(self, y, eta):
        information = (-2 * self.log_sd).exp()
        return (y - eta) * information, information.expand_as(eta)

    def log_prior(self):
        """Loadings N(0, 1) in units of each neuron's noise: ridge regression on z. Noise: WEIGHT bins more, of the typical variance.

        Without the latter a trace that is flat in training gets σ → 0, and its first transient would outweigh everything else.
        """
        ridge = -0.5 * (self.loadings * (-self.log_sd.detach()).exp()[:, None]).square().sum()
        return ridge - WEIGHT * (self.log_sd + 0.5 * self.typical * (-2 * self.log_sd).exp()).sum()

    @torch.no_grad()
    def initialise(self, mean, loadings, variance):
        self.typical.fill_(float(variance.mean()))
        for parameter, value in (
            (self.bias, mean),
            (self.loadings, loadings),
            (self.log_sd, 0.5 * torch.as_tensor(variance).log()),
        ):
            parameter.copy_(torch.as_tensor(value))
