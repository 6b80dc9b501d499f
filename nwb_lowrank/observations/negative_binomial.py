"""Negative binomial spike counts: more variable than Poisson."""

from __future__ import annotations

import torch
from torch import nn

from .counts import Counts

TYPICAL, WIDE = 2.0, 1.5  # of log r under the prior: r of about 7, give or take a factor of 4


class NegativeBinomial(Counts):
    """y ~ NB(mean μ = link(η), variance μ + μ²/r): a Poisson count whose rate is itself gamma distributed, r per neuron.

    Trial-to-trial gain that the latents do not carry makes counts over-dispersed (Goris, Movshon, Simoncelli 2014).

    Parameters as in `Poisson`.
    """

    def attach(self, rank, neurons):
        super().attach(rank, neurons)
        self.log_size = nn.Parameter(torch.full((neurons,), TYPICAL))
        return self

    def log_terms(self, y, eta, past=None):
        log_mean, r = self.link.log(self.with_past(eta, past)), self.log_size.exp()
        constant = torch.lgamma(y + r) - torch.lgamma(r) - torch.lgamma(y + 1) + r * self.log_size
        return constant + y * log_mean - (y + r) * torch.logaddexp(self.log_size, log_mean)

    def draw(self, eta, past, generator):
        rate = self.expected(eta, past)
        gain = torch._standard_gamma(self.log_size.exp().expand_as(rate).contiguous(), generator=generator) / self.log_size.exp()
        return torch.poisson(rate * gain, generator=generator)

    def score_and_information(self, y, eta, past=None):
        eta, r = self.with_past(eta, past), self.log_size.exp()
        mean, log_slope = self.link(eta), self.link.log_slope(eta)
        share = r / (r + mean)
        return (y - mean) * share * log_slope, mean * share * log_slope.square()

    def log_prior(self):
        """As of all counts, and log r ~ N(2, 1.5²)."""
        return super().log_prior() - 0.5 * ((self.log_size - TYPICAL) / WIDE).square().sum()

    @torch.no_grad()
    def initialise(self, mean, loadings, variance):
        super().initialise(mean, loadings, variance)
        mean, variance = (torch.as_tensor(x).to(self.log_size) for x in (mean, variance))
        over = (variance - mean).clamp_min(0.01 * mean.square() + 1e-12)
        self.log_size.copy_((mean.square() / over).clamp(0.5, 100).log())
