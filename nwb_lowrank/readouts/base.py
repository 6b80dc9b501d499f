"""What every readout offers: η of z, its Jacobian, and a start from the data."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Readout(nn.Module, ABC):
    """η = f(z), (..., R) -> (..., N): what an observation model makes a distribution of y from."""

    @abstractmethod
    def attach(self, rank: int, neurons: int) -> Readout:
        """Create the parameters."""

    def bind(self, model) -> None:
        """Told once of the network that it reads; a readout of z alone has no use for it."""

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """η, (..., R) -> (..., N)."""

    @abstractmethod
    def jacobian(self, z: Tensor) -> Tensor:
        """∂η/∂z, (..., R) -> (..., N, R)."""

    @abstractmethod
    def initialise(self, eta: Tensor, slope: Tensor) -> None:
        """Start near η = eta + slope z, for z of unit variance: eta (N,), slope (N, R)."""

    def shift(self, change: Tensor) -> None:
        """Add `change` (N,) to η, whatever z is."""
        self.bias.data.add_(change)

    def log_prior(self, scale: Tensor | float = 1.0) -> Tensor:
        """Loadings N(0, scale²), scale (N,) or a number: nats, up to a constant."""
        return -0.5 * (self.linear()[0] / torch.as_tensor(scale).reshape(-1, 1)).square().sum()

    def linear(self) -> tuple[Tensor, Tensor]:
        """C (N, R) and d (N,) of the tangent C z + d at z = 0."""
        zero = next(self.parameters()).new_zeros(self.rank)
        return self.jacobian(zero), self(zero)

    def pull(self, score: Tensor, information: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """∂/∂z and the information in z from those in η: (K, B, N) twice -> (K, B, R), (K, B, R, R)."""
        J = self.jacobian(z)
        gradient = (J.mT @ score[..., None])[..., 0]
        return gradient, J.mT @ (information[..., None] * J)
