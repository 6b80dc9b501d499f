"""Gaussian, Message, Covariance: sample, log_prob, and the product that makes every proposal."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

LOG_2PI = math.log(2 * math.pi)


class Message(NamedTuple):
    """An unnormalised Gaussian factor exp(−½ zᵀJz + hᵀz) about z_t.

    precision : (..., R, R) J, positive semi-definite
    shift : (..., R) h
    """

    precision: Tensor
    shift: Tensor


class Scale:
    """A Cholesky factor with its inverse and log-normaliser, each computed once, when first needed.

    chol : (..., R, R) lower triangular, positive diagonal
    """

    def __init__(self, chol: Tensor):
        self.chol = chol

    @cached_property
    def inverse(self) -> Tensor:
        return _inverse(self.chol)

    @cached_property
    def log_normaliser(self) -> Tensor:
        """log|chol| + R/2 log 2π, shape (...)."""
        diagonal = self.chol.diagonal(dim1=-2, dim2=-1)
        return diagonal.log().sum(-1) + 0.5 * diagonal.shape[-1] * LOG_2PI

    def times(self, message: Message) -> Update:
        """What multiplying by `message` does to every Gaussian of this scale.

        With P = LLᵀ and I + LᵀJL = UUᵀ (U upper triangular), the product's lower
        Cholesky factor is L U⁻ᵀ and its precision P⁻¹ + J: no inverse of J is
        ever needed, so J may be singular or zero.
        """
        L, J = self.chol, message.precision
        identity = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device)
        inner = identity + L.mT @ J @ L
        U = torch.linalg.cholesky(inner.flip(-1, -2)).flip(-1, -2)
        chol = L @ _inverse(U.mT)
        covariance = chol @ chol.mT
        return Update(identity - covariance @ J, _apply(covariance, message.shift), Scale(chol))

    def __getitem__(self, index) -> Scale:
        """The scale at one index of the leading dimensions, with what is known of it."""
        part = Scale(self.chol[index])
        for name in ("inverse", "log_normaliser"):
            if name in self.__dict__:
                part.__dict__[name] = self.__dict__[name][index]
        return part


class Update(NamedTuple):
    """Multiplication by a message, prepared: N(μ, P) becomes N(gain μ + shift, scale).

    gain : (..., R, R) I − P⁺J;  shift : (..., R) P⁺h;  scale : of the product's covariance P⁺
    """

    gain: Tensor
    shift: Tensor
    scale: Scale

    def apply(self, mean: Tensor) -> Gaussian:
        return Gaussian(_apply(self.gain, mean) + self.shift, self.scale)

    def at(self, index) -> Update:
        """The update at one index of the leading dimensions."""
        return Update(self.gain[index], self.shift[index], self.scale[index])


class Gaussian(NamedTuple):
    """N(mean, chol cholᵀ), batched over leading dimensions.

    mean : (..., R)
    scale : Scale; its (..., R, R) broadcasts against mean
    """

    mean: Tensor
    scale: Scale

    @property
    def chol(self) -> Tensor:
        return self.scale.chol

    def sample(self, noise: Tensor) -> Tensor:
        """mean + chol · noise: deterministic in its standard normal noise (..., R)."""
        return self.mean + _apply(self.scale.chol, noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z; mean, chol cholᵀ), shape (...)."""
        return self.log_prob_of_noise(_apply(self.scale.inverse, z - self.mean))

    def log_prob_of_noise(self, noise: Tensor) -> Tensor:
        """log_prob(sample(noise)), without solving for the noise."""
        return -0.5 * noise.square().sum(-1) - self.scale.log_normaliser

    def times(self, message: Message) -> Gaussian:
        """The normalised product with a message."""
        return self.scale.times(message).apply(self.mean)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """matrix (R, R), (B, R, R) or (..., R, R) on vector (..., R).

    Particles lead: with one matrix a trial and vectors (K, B, R), the particles
    become the columns of B small matrix products.
    """
    if matrix.dim() == 2:
        return vector @ matrix.mT
    if matrix.dim() == vector.dim() == 3:
        return (vector.transpose(0, 1) @ matrix.mT).transpose(0, 1)
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _inverse(chol: Tensor) -> Tensor:
    """Inverse of a lower triangular matrix."""
    identity = torch.eye(chol.shape[-1], dtype=chol.dtype, device=chol.device)
    return torch.linalg.solve_triangular(chol, identity.expand_as(chol), upper=False)


class Covariance(nn.Module, ABC):
    """A learnable covariance; `attach(size)` makes its parameters, `chol()` its Cholesky factor."""

    @abstractmethod
    def attach(self, size: int) -> Covariance:
        """Create the parameters for `size` dimensions, at unit covariance."""

    @abstractmethod
    def chol(self) -> Tensor:
        """(R, R) lower triangular."""

    def scale(self) -> Scale:
        """The Cholesky factor ready for use."""
        return Scale(self.chol())

    @abstractmethod
    def set(self, covariance: Tensor) -> None:
        """Take on `covariance` (R, R), projected on what this kind can express."""


class ScalarCovariance(Covariance):
    """σ² I."""

    def attach(self, size: int) -> ScalarCovariance:
        self.size = size
        self.log_sd = nn.Parameter(torch.zeros(()))
        return self

    def chol(self) -> Tensor:
        return self.log_sd.exp() * torch.eye(self.size, dtype=self.log_sd.dtype, device=self.log_sd.device)

    @torch.no_grad()
    def set(self, covariance: Tensor) -> None:
        self.log_sd.copy_(0.5 * covariance.diagonal().mean().log())


class DiagonalCovariance(Covariance):
    """diag(σ₁², …, σ_R²)."""

    def attach(self, size: int) -> DiagonalCovariance:
        self.log_sd = nn.Parameter(torch.zeros(size))
        return self

    def chol(self) -> Tensor:
        return torch.diag(self.log_sd.exp())

    @torch.no_grad()
    def set(self, covariance: Tensor) -> None:
        self.log_sd.copy_(0.5 * covariance.diagonal().log())


class FullCovariance(Covariance):
    """LLᵀ with L = lower + diag(softplus(raw))."""

    def attach(self, size: int) -> FullCovariance:
        self.lower = nn.Parameter(torch.zeros(size, size))
        self.raw = nn.Parameter(torch.full((size,), math.log(math.e - 1)))
        return self

    def chol(self) -> Tensor:
        return self.lower.tril(-1) + torch.diag(softplus(self.raw) + 1e-6)

    @torch.no_grad()
    def set(self, covariance: Tensor) -> None:
        chol = torch.linalg.cholesky(covariance.to(self.lower))
        self.lower.copy_(chol.tril(-1))
        self.raw.copy_(torch.log(torch.expm1((chol.diagonal() - 1e-6).clamp_min(1e-5))))
