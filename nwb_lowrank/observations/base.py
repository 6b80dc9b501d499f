"""What every observation model offers: an affine readout, a log-probability, a mean, a sample."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


class Observation(nn.Module, ABC):
    """p(y_t | z_t) with an affine readout η_t = C z_t + d.

    A new observation model is one file with one subclass: `log_prob`, `mean`,
    `sample` and `initialise`; extra parameters are made in `attach`.
    """

    counts: bool = True  # False: y is a continuous signal

    def attach(self, rank: int, neurons: int) -> Observation:
        """Create the parameters: loadings C (N, R) and bias d (N,)."""
        self.loadings = nn.Parameter(torch.randn(neurons, rank, generator=torch.Generator().manual_seed(0)) / rank**0.5)
        self.bias = nn.Parameter(torch.zeros(neurons))
        return self

    def readout(self, z: Tensor) -> Tensor:
        """η = C z + d, (..., R) -> (..., N)."""
        return z @ self.loadings.mT + self.bias

    @abstractmethod
    def log_prob(self, y: Tensor, z: Tensor, mask: Tensor) -> Tensor:
        """log p(y | z) summed over the neurons where mask is True, nats.

        y, mask : (B, N);  z : (K, B, R);  returns (K, B)
        """

    @abstractmethod
    def mean(self, z: Tensor) -> Tensor:
        """E[y | z], (..., R) -> (..., N), per bin."""

    @abstractmethod
    def sample(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """A draw of y given z, (..., R) -> (..., N)."""

    def score_and_information(self, y: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        """∂/∂η log p(y | η) and the Fisher information E[(∂/∂η log p)²] of every neuron by itself.

        y : (B, N);  eta : (K, B, N);  returns twice (K, B, N).  Differentiable in the parameters.
        """
        raise NotImplementedError(f"{type(self).__name__} must say its score and information.")

    def curvature(self, y: Tensor, z: Tensor, mask: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """∇_z log p(y | z) and its Fisher information in z, of the neurons where mask is True: what a Newton step needs.

        y, mask : (B, N);  z : (K, B, R);  returns (K, B, R) and positive semi-definite (K, B, R, R).
        """
        score, information = self.score_and_information(y * mask, self.readout(z))
        outer = (self.loadings[:, :, None] * self.loadings[:, None, :]).flatten(1)
        precision = (information * mask) @ outer
        return (score * mask) @ self.loadings, precision.unflatten(-1, (z.shape[-1], z.shape[-1]))

    def log_prior(self) -> Tensor:
        """log-density of the parameters under a weak prior, nats, up to a constant: what keeps rare neurons from overfitting."""
        return self.bias.new_zeros(())

    @abstractmethod
    def initialise(self, mean: np.ndarray, loadings: np.ndarray, variance: np.ndarray) -> None:
        """Start from the data, so that the mean model's mean matches the neurons' mean.

        mean : (N,) mean per bin, floored above zero for counts
        loadings : (N, R) ∂E[y]/∂z for z of unit variance, per bin
        variance : (N,) what the factors leave unexplained
        """


class Link(nn.Module, ABC):
    """Rate of a readout, and its inverse."""

    @abstractmethod
    def forward(self, eta: Tensor) -> Tensor:
        """Rate (spikes per bin) of η."""

    @abstractmethod
    def log(self, eta: Tensor) -> Tensor:
        """log rate of η, without rounding a small rate to 0."""

    @abstractmethod
    def inverse(self, rate: Tensor) -> Tensor:
        """η of a positive rate."""

    @abstractmethod
    def slope(self, eta: Tensor) -> Tensor:
        """d rate / dη."""

    @abstractmethod
    def log_slope(self, eta: Tensor) -> Tensor:
        """d log rate / dη, also where the rate rounds to 0."""


class Softplus(Link):
    """rate = log(1 + exp η), the paper's choice."""

    def forward(self, eta):
        return softplus(eta)

    def log(self, eta):
        return softplus(eta).clamp_min(1e-30).log()

    def inverse(self, rate):
        return rate + torch.log(-torch.expm1(-rate))

    def slope(self, eta):
        return torch.sigmoid(eta)

    def log_slope(self, eta):
        near = eta.clamp_min(-15.0)  # below, the ratio is 1 to float32's last digit
        return torch.where(eta < -15.0, 1.0, torch.sigmoid(near) / softplus(near))


class Exp(Link):
    """rate = exp η, cut off at e¹⁰ spikes per bin where no neuron is and the exponential would overflow."""

    def forward(self, eta):
        return eta.clamp(max=10.0).exp()

    def log(self, eta):
        return eta.clamp(max=10.0)

    def inverse(self, rate):
        return rate.log()

    def slope(self, eta):
        return eta.clamp(max=10.0).exp()

    def log_slope(self, eta):
        return (eta <= 10.0).to(eta)
