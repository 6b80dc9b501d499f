"""Zero-inflated gamma: deconvolved calcium, exactly zero between events and of varying size in them."""

from __future__ import annotations

import torch
from torch import nn

from .counts import Counts

TINY = 1e-20  # events per bin; smaller ones only lose digits


class ZeroInflatedGamma(Counts):
    """y = 0 with probability exp(−λ), else y ~ Gamma(shape k, mean g λ / (1 − exp(−λ))), λ = link(η) events per bin.

    What remains of Poisson events of mean size g that fell into one bin: E[y] = g λ, g and k per neuron (after Wei et al.
    2020, whose two parts are free of one another; here one rate drives both, so that a readout is a tuning).

    Parameters
    ----------
    link : Link or None
        None: Softplus().
    readout : Readout or None
        Affine() by default.
    """

    counts = False
    expects = "values of 0 and above (deconvolved calcium)"

    def __init__(self, link=None, *, readout=None):
        super().__init__(link, readout=readout)

    @classmethod
    def allows(cls, values):
        return bool((values >= 0).all())

    def attach(self, rank, neurons):
        super().attach(rank, neurons)
        self.log_gain = nn.Parameter(torch.zeros(neurons))
        self.log_shape = nn.Parameter(torch.zeros(neurons))
        return self

    def _parts(self, eta):
        """λ, log p(y > 0), and log of the mean size."""
        rate = self.link(eta).clamp_min(TINY)
        log_active = torch.log(-torch.expm1(-rate))
        return rate, log_active, self.log_gain + rate.log() - log_active

    def log_terms(self, y, eta, past=None):
        rate, log_active, log_size = self._parts(eta)
        active, k = y > 0, self.log_shape.exp()
        size = torch.where(active, y, 1.0)
        density = k * (self.log_shape - log_size) + (k - 1) * size.log() - k * size / log_size.exp() - torch.lgamma(k)
        return torch.where(active, log_active + density, -rate)

    def expected(self, eta, past=None):
        return self.log_gain.exp() * self.link(eta)

    def draw(self, eta, past, generator):
        _, log_active, log_size = self._parts(eta)
        shape = self.log_shape.exp()
        size = torch._standard_gamma(shape.expand_as(eta).contiguous(), generator=generator) * log_size.exp() / shape
        return torch.bernoulli(log_active.exp(), generator=generator) * size

    def score_and_information(self, y, eta, past=None):
        rate, log_active, log_size = self._parts(eta)
        log_slope, k = self.link.log_slope(eta), self.log_shape.exp()
        share = rate / torch.expm1(rate.clamp(max=50))  # d log p(y > 0) / d log λ
        active = share + k * (y / log_size.exp() - 1) * (1 - share)
        score = torch.where(y > 0, active, -rate) * log_slope
        return score, (rate * share + log_active.exp() * k * (1 - share).square()) * log_slope.square()

    def log_prior(self):
        """As of counts, and log k ~ N(0, 1)."""
        return super().log_prior() - 0.5 * self.log_shape.square().sum()

    @torch.no_grad()
    def initialise(self, mean, loadings, variance):
        """Event sizes by moments, for rare events of exponential size: variance = 2 g · mean."""
        mean, loadings, variance = (torch.as_tensor(x).to(self.log_gain) for x in (mean, loadings, variance))
        mean = mean.clamp_min(1e-6 * mean.max().clamp_min(1e-6))
        gain = (variance / (2 * mean)).clamp(0.05 * mean, 1e4 * mean)
        self.log_gain.copy_(gain.log())
        super().initialise(mean / gain, loadings / gain[:, None], variance)
