"""One recorded neuron, one hidden unit: its current."""

from __future__ import annotations

import torch
from torch import nn

from .base import Readout

STEPS = 60  # of the start; the least squares problem is small and smooth


class UnitCurrents(Readout):
    """η_i = g_i (m z)_i + d_i: neuron i is the network's hidden unit i, seen through its current.

    The rows of m are loadings then, so that the connectivity n m of the first N units is that of the recorded neurons
    themselves. Needs units >= neurons; further units are unrecorded ones.
    """

    def attach(self, rank, neurons):
        self.rank, self.neurons = rank, neurons
        self.gain = nn.Parameter(torch.ones(neurons))
        self.bias = nn.Parameter(torch.zeros(neurons))
        return self

    def bind(self, model):
        if model.units < self.neurons:
            raise ValueError(
                f"{type(self).__name__}: expected a hidden unit for every neuron ({self.neurons}); got {model.units}. "
                "Pass units=neurons or more."
            )
        self.__dict__["network"] = model  # not a submodule: the model already holds this readout

    def activity(self, current):
        """What of a unit's current (..., H) is seen."""
        return current[..., : self.neurons]

    def slope(self, current):
        """Its derivative, (..., N)."""
        return torch.ones_like(current[..., : self.neurons])

    def _current(self, z):
        return self.network.currents(z)

    def forward(self, z):
        return self.gain * self.activity(self._current(z)) + self.bias

    def jacobian(self, z):
        return (self.gain * self.slope(self._current(z)))[..., None] * self.network.m[: self.neurons]

    def initialise(self, eta, slope):
        """Rows of m (where they are free) from the slopes, then gain, bias and rows so that η fits the plane where z is."""
        if not self.network.m.requires_grad:  # a full-rank network, whose latents are the units themselves
            with torch.no_grad():
                self.gain.copy_(slope.norm(dim=1))
                return self.shift(eta - self(eta.new_zeros(self.rank)))
        with torch.no_grad():
            self.network.m[: self.neurons] = slope
            self.gain.fill_(1.0)
            self.shift(eta - self(eta.new_zeros(self.rank)))
            z = torch.randn(500, self.rank, generator=torch.Generator().manual_seed(0)).to(eta)
            wanted = eta + z @ slope.mT
        parts = [self.gain, self.bias, self.network.m]
        optimizer = torch.optim.Adam(parts, lr=0.05)
        with torch.enable_grad():
            for _ in range(STEPS):
                gradients = torch.autograd.grad((self(z) - wanted).square().mean(0).sum(), parts)
                for part, gradient in zip(parts, gradients):
                    part.grad = gradient
                optimizer.step()
        for part in parts:
            part.grad = None
