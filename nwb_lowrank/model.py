"""LowRankRNN: the generative model p(z_1|u), p(z_t|z_{t−1},u_t), p(y_t|z_t)."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from .gaussian import Covariance, DiagonalCovariance, FullCovariance, Gaussian, Scale
from .nonlinearities import ClippedReLU
from .nonlinearities.base import Nonlinearity
from .observations import Poisson
from .observations.base import Observation


class LowRankRNN(nn.Module):
    """A stochastic low-rank recurrent network, seen through its latents.

    z_t = a z_{t−1} + n φ(m z_{t−1} + w u_t, h) + ε_t,   y_t ~ observation(C z_t + d)

    (Pals, Sağtekin, Pei, Gloeckler, Macke, NeurIPS 2024, arXiv 2406.16749.)

    Parameters
    ----------
    rank : int
        R, latent dimensions.
    units : int
        H, hidden units of the network; at least `rank`.
    neurons : int
        N, recorded neurons.
    inputs : int
        D, known inputs.
    nonlinearity : Nonlinearity
        φ with its biases h; ClippedReLU() by default.
    observation : Observation
        Poisson() by default.
    noise, initial_noise : Covariance
        Of ε_t and of z_1; DiagonalCovariance() and FullCovariance() by default.
    biases : bool
        Every hidden unit also gets a bias b of its current: φ(m z + w u + b, h). (ReLU, tanh and identity have one in h.)
    filtered : bool
        The network sees its inputs through a filter with its own decay, s_t = a s_{t−1} + (1 − a) u_t, instead of directly.
        Before bin 1 the input was what it is then, so that a constant input is what it is.
    full : bool
        The control without the low-rank constraint: rank = units, m = I and fixed, so that n is the connectivity of a
        recurrent network whose currents are the latents.

    Attributes
    ----------
    m : (H, R), n : (R, H), w : (H, D), decay : scalar a in (0, 1)
    initial_input : (R, D), z_1 has mean initial_mean + initial_input u_1
    extent : (R,) buffer
        Largest |z| that the fitted trials visit (0 before a fit): the fixed-point
        search starts from it where the dynamics are not bounded.

    Notes
    -----
    The parts passed in are copied, so one object may serve two models.
    """

    def __init__(
        self,
        *,
        rank: int,
        units: int,
        neurons: int,
        inputs: int = 0,
        nonlinearity: Nonlinearity | None = None,
        observation: Observation | None = None,
        noise: Covariance | None = None,
        initial_noise: Covariance | None = None,
        biases: bool = False,
        filtered: bool = False,
        full: bool = False,
    ):
        super().__init__()
        if not 1 <= rank <= units:
            raise ValueError(f"LowRankRNN: rank must lie between 1 and units; got rank={rank}, units={units}. Lower rank or raise units.")
        if full and rank != units:
            raise ValueError(f"LowRankRNN: full=True has one latent a unit; got rank={rank}, units={units}. Pass rank=units.")
        self.rank, self.units, self.neurons, self.inputs = rank, units, neurons, inputs
        self.biases, self.filtered, self.full = biases, filtered, full
        self.nonlinearity = copy.deepcopy(nonlinearity or ClippedReLU()).attach(units)
        self.observation = copy.deepcopy(observation or Poisson()).attach(rank, neurons)
        self.noise = copy.deepcopy(noise or DiagonalCovariance()).attach(rank)
        self.initial_noise = copy.deepcopy(initial_noise or FullCovariance()).attach(rank)
        generator = torch.Generator().manual_seed(0)
        self.m = nn.Parameter(torch.randn(units, rank, generator=generator) / rank**0.5)
        self.n = nn.Parameter(torch.zeros(rank, units))
        self.w = nn.Parameter(torch.zeros(units, inputs))
        self.decay_logit = nn.Parameter(torch.tensor(math.log(0.9 / 0.1)))
        self.initial_mean = nn.Parameter(torch.zeros(rank))
        self.initial_input = nn.Parameter(torch.zeros(rank, inputs))
        if biases:
            self.b = nn.Parameter(torch.zeros(units))
        self.register_buffer("extent", torch.zeros(rank))
        with torch.no_grad():
            self.nonlinearity.h.copy_(torch.randn(units, generator=generator))
            if full:
                self.m.copy_(torch.eye(units)).requires_grad_(False)
        self.observation.readout.bind(self)

    @property
    def decay(self) -> Tensor:
        """a, the share of z that one bin keeps."""
        return torch.sigmoid(self.decay_logit)

    def initial(self, u: Tensor) -> Gaussian:
        """p(z_1 | u_1): mean (B, R) for u (B, D)."""
        mean = self.initial_mean.expand(*u.shape[:-1], self.rank)
        return Gaussian(mean + u @ self.initial_input.mT if self.inputs else mean, self.initial_noise.scale())

    def currents(self, z: Tensor, u: Tensor | None = None) -> Tensor:
        """m z + w u (+ b), what φ is applied to, (..., R) -> (..., H)."""
        current = z @ self.m.mT
        if self.inputs and u is not None:
            current = current + u @ self.w.mT
        return current + self.b if self.biases else current

    def drive(self, u: Tensor) -> Tensor:
        """The inputs as the network sees them, (B, T, D) -> (B, T, D): filtered where `filtered`. Every loop over bins begins with it."""
        if not (self.inputs and self.filtered):
            return u
        lag = torch.arange(u.shape[1], device=u.device)
        lag = lag[:, None] - lag
        weight = torch.where(lag >= 0, self.decay ** lag.clamp_min(0), 0)
        first = torch.arange(u.shape[1], device=u.device) == 0
        return (weight * torch.where(first, 1.0, 1 - self.decay)) @ u

    def step(self, z: Tensor, u: Tensor) -> Tensor:
        """F(z, u): the noise-free dynamics, (..., R) and (..., D) -> (..., R)."""
        return self.decay * z + self.nonlinearity(self.currents(z, u)) @ self.n.mT

    def transition(self, z: Tensor, u: Tensor, scale: Scale | None = None) -> Gaussian:
        """p(z_t | z_{t−1} = z, u_t). A loop over bins passes `noise.scale()`, which no bin changes."""
        return Gaussian(self.step(z, u), scale or self.noise.scale())

    @torch.no_grad()
    def simulate(self, inputs: Tensor, *, seed: int, initial: Tensor | None = None, noise: bool = True) -> tuple[Tensor, Tensor]:
        """Draw latents and observations from the model.

        Parameters
        ----------
        inputs : (B, T, D); pass torch.zeros(B, T, 0) without inputs
        seed : int
        initial : (B, R) or None
            z_1, instead of a draw from p(z_1).
        noise : bool
            False: the deterministic dynamics (the observations stay random).

        Returns
        -------
        z : (B, T, R), y : (B, T, N)
        """
        generator = torch.Generator(self.m.device).manual_seed(seed)
        inputs = self.drive(inputs.to(self.m))
        scale = 1.0 if noise else 0.0

        def draw(gaussian: Gaussian) -> Tensor:
            white = torch.randn(gaussian.mean.shape, generator=generator, dtype=self.m.dtype, device=self.m.device)
            return gaussian.sample(scale * white)

        path = [draw(self.initial(inputs[:, 0])) if initial is None else initial.to(self.m)]
        for t in range(1, inputs.shape[1]):
            path.append(draw(self.transition(path[-1], inputs[:, t])))
        z = torch.stack(path, 1)
        return z, self.observation.sample_path(z, generator)
