"""A small network from the latents to the neurons."""

from __future__ import annotations

import torch
from torch import nn

from .base import Readout


class MLP(Readout):
    """η = C z + d + V tanh(W z + b): an affine readout plus a small network that starts at 0.

    Neurons with tuning that no plane can follow (bumps, place fields) need it; where a plane will do, the prior keeps V small.

    Parameters
    ----------
    hidden : int
        tanh units.
    """

    def __init__(self, *, hidden: int = 32):
        super().__init__()
        if hidden < 1:
            raise ValueError(f"MLP: hidden must be at least 1; got {hidden}. Use Affine() for none.")
        self.hidden = hidden

    def attach(self, rank, neurons):
        self.rank = rank
        generator = torch.Generator().manual_seed(0)
        self.loadings = nn.Parameter(torch.randn(neurons, rank, generator=generator) / rank**0.5)
        self.bias = nn.Parameter(torch.zeros(neurons))
        self.inner = nn.Parameter(torch.randn(self.hidden, rank, generator=generator) / rank**0.5)
        self.offset = nn.Parameter(torch.randn(self.hidden, generator=generator))
        self.outer = nn.Parameter(torch.zeros(neurons, self.hidden))
        return self

    def _active(self, z):
        return (z @ self.inner.mT + self.offset).tanh()

    def forward(self, z):
        return z @ self.loadings.mT + self.bias + self._active(z) @ self.outer.mT

    def jacobian(self, z):
        slope = 1 - self._active(z).square()
        return self.loadings + self.outer @ (slope[..., None] * self.inner)

    @torch.no_grad()
    def initialise(self, eta, slope):
        self.bias.copy_(eta)
        self.loadings.copy_(slope)
        self.outer.zero_()

    def log_prior(self, scale=1.0):
        """Loadings C and V N(0, scale²)."""
        scale = torch.as_tensor(scale).reshape(-1, 1)
        return -0.5 * ((self.loadings / scale).square().sum() + (self.outer / scale).square().sum())
