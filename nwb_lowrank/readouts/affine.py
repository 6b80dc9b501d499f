"""Affine readout of the latents, the paper's choice."""

from __future__ import annotations

import torch
from torch import nn

from .base import Readout


class Affine(Readout):
    """η = C z + d, with loadings C (N, R) and bias d (N,)."""

    def attach(self, rank, neurons):
        self.rank = rank
        self.loadings = nn.Parameter(torch.randn(neurons, rank, generator=torch.Generator().manual_seed(0)) / rank**0.5)
        self.bias = nn.Parameter(torch.zeros(neurons))
        return self

    def forward(self, z):
        return z @ self.loadings.mT + self.bias

    def jacobian(self, z):
        return self.loadings.expand(*z.shape[:-1], *self.loadings.shape)

    def linear(self):
        return self.loadings, self.bias

    @torch.no_grad()
    def initialise(self, eta, slope):
        self.bias.copy_(eta)
        self.loadings.copy_(slope)

    def pull(self, score, information, z):
        C = self.loadings
        outer = (C[:, :, None] * C[:, None, :]).flatten(1)  # one matrix product instead of a small one a particle
        return score @ C, (information @ outer).unflatten(-1, (self.rank, self.rank))
