"""What every observation model offers: a readout, a log-probability with its curvature, a mean, a sample, and what it remembers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..readouts import Affine
from ..readouts.base import Readout


class Observation(nn.Module, ABC):
    """p(y_t | z_t, y_<t): every neuron by itself, given its η_t = readout(z_t) and perhaps what it did before.

    A new observation model is one file with one subclass: `log_terms`, `expected`, `draw`, `score_and_information` and
    `initialise`; extra parameters are made in `attach`. A model that remembers says `reach`, `remember` and `recall`.

    Parameters
    ----------
    readout : Readout or None
        η of z; None: Affine().

    Notes
    -----
    `past` is what `remember` (or `recall`) says about a bin's own past, (B, N, F) or None where nothing is known.
    Whatever was not recorded is not known: each model states what it does then, and no likelihood ever uses it.
    """

    counts: bool = True  # False: y is a continuous signal
    expects: str = "non-negative whole spike counts"
    reach: int = 0  # bins before the present one that p(y_t | z_t, y_<t) depends on

    def __init__(self, *, readout: Readout | None = None):
        super().__init__()
        self.readout = readout or Affine()

    def attach(self, rank: int, neurons: int) -> Observation:
        """Create the parameters."""
        self.readout.attach(rank, neurons)
        return self

    @property
    def loadings(self) -> Tensor:
        """C (N, R): how η moves with z (at z = 0, where the readout bends)."""
        return self.readout.linear()[0]

    @property
    def bias(self) -> Tensor:
        """d (N,): η at z = 0."""
        return self.readout.linear()[1]

    @classmethod
    def allows(cls, values: np.ndarray) -> bool:
        """Can these be observations?"""
        return not cls.counts or bool((values >= 0).all() and (values == np.round(values)).all())

    @abstractmethod
    def log_terms(self, y: Tensor, eta: Tensor, past: Tensor | None = None) -> Tensor:
        """log p(y | η, past) of every neuron, nats: y (B, N), η (K, B, N) -> (K, B, N)."""

    def log_prob(self, y: Tensor, z: Tensor, mask: Tensor, past: Tensor | None = None) -> Tensor:
        """log p(y | z, past) summed over the neurons where mask is True, nats.

        y, mask : (B, N);  z : (K, B, R);  past : (B, N, F) or None;  returns (K, B)
        """
        return torch.where(mask, self.log_terms(y * mask, self.readout(z), past), 0).sum(-1)

    @abstractmethod
    def expected(self, eta: Tensor, past: Tensor | None = None) -> Tensor:
        """E[y | η, past], (..., N) -> (..., N), per bin."""

    @abstractmethod
    def draw(self, eta: Tensor, past: Tensor | None, generator: torch.Generator) -> Tensor:
        """y given η and past, (..., N) -> (..., N)."""

    @abstractmethod
    def score_and_information(self, y: Tensor, eta: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """∂/∂η log p(y | η) and the Fisher information E[(∂/∂η log p)²] of every neuron by itself.

        y : (B, N);  η : (K, B, N);  returns twice (K, B, N), differentiable in the parameters.
        """

    def curvature(self, y: Tensor, z: Tensor, mask: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """∇_z log p(y | z) and its Fisher information in z, of the neurons where mask is True: what a Newton step needs.

        y, mask : (B, N);  z : (K, B, R);  returns (K, B, R) and positive semi-definite (K, B, R, R).
        """
        score, information = self.score_and_information(y * mask, self.readout(z), past)
        return self.readout.pull(score * mask, information * mask, z)

    def mean(self, z: Tensor, past: Tensor | None = None) -> Tensor:
        """E[y | z, past], (..., R) -> (..., N), per bin."""
        return self.expected(self.readout(z), past)

    def sample(self, z: Tensor, generator: torch.Generator, past: Tensor | None = None) -> Tensor:
        """A draw of y given z and past, (..., R) -> (..., N)."""
        return self.draw(self.readout(z), past, generator)

    def remember(self, y: Tensor, mask: Tensor) -> Tensor | None:
        """What is known of every bin's past: y, mask (B, T, N) -> (B, T, N, F), a function of recorded earlier bins alone."""
        return None

    def recall(self, window: Tensor) -> Tensor | None:
        """`remember` of the bin after `window` (..., L, N), whose bins are all known and came just before; L may be 0."""
        return None

    def mean_path(self, z: Tensor) -> Tensor:
        """E[y_1:T | z_1:T] given the latents alone, (..., T, R) -> (..., T, N): a bin's past is what was itself expected."""
        if not self.reach:
            return self.mean(z)
        return self._along(self.readout(z), lambda eta, past: self.expected(eta, past))

    def sample_path(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """A draw of y_1:T given z_1:T, (..., T, R) -> (..., T, N)."""
        if not self.reach:
            return self.sample(z, generator)
        return self._along(self.readout(z), lambda eta, past: self.draw(eta, past, generator))

    def _along(self, eta: Tensor, follow) -> Tensor:
        """y_t = follow(η_t, past_t), bin after bin."""
        path = eta.new_zeros(eta.shape)
        for t in range(eta.shape[-2]):
            path[..., t, :] = follow(eta[..., t, :], self.recall(path[..., max(0, t - self.reach) : t, :]))
        return path

    def activity(self, y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What η drives directly, and where it is known: y itself unless y also depends on its past. (B, T, N) twice."""
        return y, mask

    def tune(self, y: Tensor, mask: Tensor) -> None:
        """Before `initialise`: what (B, T, N) data tell of parameters that have nothing to do with z."""

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
